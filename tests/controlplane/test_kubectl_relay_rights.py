"""`kubectl relay` with few rights, with hostile texts, and its completion."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from devcluster import Cluster, accounts
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.trainer import ScriptedTrainer
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support.plugin import Plugin, trains

ROLES = "/apis/rbac.authorization.k8s.io/v1"
GPU = "gpu-00000000-0000-0000-0000-000000000001"


def test_texts_of_a_trainer_cannot_control_the_terminal(
    world: World, resident: ScriptedResident, operator: OperatorProcess, relay: Plugin, relay_trainer: ScriptedTrainer
) -> None:
    relay_trainer.stage, relay_trainer.eta_seconds = "\x1b]0;owned\x07\x1b[2J", None
    relay_trainer.metrics = {"\x1b[31mmAP50": 0.5}
    world.apply_job("digits")
    trains(world, relay_trainer, "digits")
    world.end_pod("digits-1", "Error", 1, message="\x1b[2J[link=https://evil.example]bad[/link]")
    for command in (("watch", "digits", "--timeout", "2s"), ("explain", "digits"), ("gpus",), ("timeline",)):
        shown = relay.on_a_terminal(*command, "-n", world.namespace).out
        assert "\x1b]0" not in shown, command
        assert "\x1b[2J" not in shown, command
        assert "\x1b[31mmAP50" not in shown, command
        assert "\x1b]8" not in shown, command


def binding(name: str, role: str, namespace: str) -> dict[str, Any]:
    """Bind a cluster role to the account `viewer` of a namespace."""
    return {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": "viewer", "namespace": namespace}],
    }


@pytest.fixture
def viewer(cluster: Cluster, world: World, api: httpx.Client, tmp_path: Path) -> Plugin:
    """The plugin, run by an account with the role `view` in one namespace only."""
    account = {"metadata": {"name": "viewer"}}
    api.post(f"/api/v1/namespaces/{world.namespace}/serviceaccounts", json=account).raise_for_status()
    path = f"{ROLES}/namespaces/{world.namespace}/rolebindings"
    api.post(path, json=binding("viewer", "view", world.namespace)).raise_for_status()
    kubeconfig = accounts.write_kubeconfig(api, cluster.run_dir, world.namespace, "viewer")
    plugin = Plugin(tmp_path / "bin", kubeconfig)
    eventually(lambda: plugin("gpus", "-n", world.namespace).code == 0, "the role `view` to include jobs")
    return plugin


def test_a_viewer_of_one_namespace_sees_what_it_may_read(
    world: World, resident: ScriptedResident, operator: OperatorProcess, viewer: Plugin, relay_trainer: ScriptedTrainer
) -> None:
    here = ("-n", world.namespace)
    world.apply_job("defects")
    trains(world, relay_trainer, "defects")
    world.apply_job("digits")
    eventually(lambda: world.waits_for("digits", "WaitingInQueue"), "digits to wait")
    shown = viewer("gpus", *here)
    text = re.sub(r"\s+", " ", shown.out)
    assert re.search(rf"{GPU} Tesla T4 on node-1 owner {world.namespace}/defects for", text)
    assert f"1 {world.namespace}/digits" in text
    assert "queue empty" not in text
    assert "jobs of other namespaces were not read, and may wait, too" in text
    assert text.count("not known") == 1, "one sentence for all that is hidden"
    assert text.endswith(
        "not known Your rights do not show: the Leases, which record the owners of GPUs (list "
        "leases.coordination.k8s.io in namespace gpu-relay); resident pods (list pods in namespace gpu-relay). "
    )
    assert f"{world.namespace}/defects" in viewer("jobs", *here).out
    assert "number 1 in the queue" in viewer("explain", "digits", *here).out
    assert "B" not in viewer("timeline", *here).out.split("\n")[1]
    everywhere = viewer("gpus", "-A")
    assert everywhere.code == 4
    assert "list yolotrainingjobs.gpurelay.dev in all namespaces" in everywhere.err
    refused = viewer("suspend", "digits", *here)
    assert refused.code == 4
    assert "patch yolotrainingjobs.gpurelay.dev" in refused.err
    for each in (shown, everywhere, refused):
        assert "Traceback" not in each.err


@pytest.fixture
def cluster_viewer(world: World, api: httpx.Client, viewer: Plugin) -> Iterator[Plugin]:
    """The viewer, with the bindings of docs/kubectl-relay.md: the jobs of all namespaces, and the residents."""
    cluster_wide = f"{ROLES}/clusterrolebindings"
    residents = f"{ROLES}/namespaces/gpu-relay/rolebindings"
    name = f"viewer-{world.namespace}"
    api.post(cluster_wide, json=binding(name, "gpu-relay-view", world.namespace)).raise_for_status()
    api.post(residents, json=binding(name, "view", world.namespace)).raise_for_status()
    eventually(lambda: viewer("jobs", "-A").code == 0, "the binding to hold")
    yield viewer
    api.delete(f"{cluster_wide}/{name}").raise_for_status()
    api.delete(f"{residents}/{name}").raise_for_status()


def test_a_cluster_viewer_lacks_leases_and_measured_memory(
    world: World,
    neighbour: World,
    resident: ScriptedResident,
    operator: OperatorProcess,
    cluster_viewer: Plugin,
    relay_trainer: ScriptedTrainer,
) -> None:
    world.apply_job("defects")
    trains(world, relay_trainer, "defects")
    neighbour.apply_job("digits", podTemplate={"nodeSelector": {"zone": "a"}})
    eventually(lambda: neighbour.job("digits")["status"].get("phase") == "Queued", "digits to wait")
    listed = cluster_viewer("jobs", "-A")
    assert "not known" not in listed.out
    assert f"{neighbour.namespace}/digits" in listed.out
    shown = cluster_viewer("gpus", "-A")
    text = re.sub(r"\s+", " ", shown.out)
    assert text.startswith(f"● {GPU} Tesla T4 on node-1 owner {world.namespace}/defects for"), "no warning comes first"
    assert f"{world.namespace}/sam3" not in text.partition("not known")[2]
    (hidden,) = re.findall(r"not known (.*)", text)
    assert hidden.startswith("Your rights do not show: the Leases, which record the owners of GPUs (list leases")
    assert "nodes" not in hidden
    assert "jobs of other namespaces" not in hidden
    history = cluster_viewer("timeline", "-A").out
    assert "list events" not in re.sub(r"\s+", " ", history)
    no_log = cluster_viewer("logs", "digits", "-n", neighbour.namespace)
    assert no_log.code in {1, 4}, "digits has had no pod, or its log is hidden"
    for each in (listed, shown, no_log):
        assert "Traceback" not in each.err


def test_gpu_relay_view_grants_no_key_and_no_log(world: World, api: httpx.Client, cluster_viewer: Plugin) -> None:
    """What the role must never show: the renew keys in Leases, and the logs of other namespaces."""
    review = {
        "spec": {"user": f"system:serviceaccount:{world.namespace}:viewer"},
    }

    def may(verb: str, group: str, resource: str, namespace: str, name: str = "", subresource: str = "") -> bool:
        attributes = {"verb": verb, "group": group, "resource": resource, "namespace": namespace, "name": name}
        spec = {**review["spec"], "resourceAttributes": {**attributes, "subresource": subresource}}
        answer = api.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", json={"spec": spec})
        return bool(answer.raise_for_status().json()["status"]["allowed"])

    coordination = "coordination.k8s.io"
    assert may("get", coordination, "leases", "gpu-relay", "gpu-relay-leader")
    assert may("get", "", "pods", world.namespace, "digits-1", "log")
    assert may("get", "", "nodes", "", "node-1")
    assert not may("get", coordination, "leases", "gpu-relay", GPU)
    assert not may("list", coordination, "leases", "gpu-relay")
    assert not may("get", "", "pods", "default", "any", "log")
    assert not may("list", "", "pods", "default")
    assert not may("list", "", "nodes", "")
    assert not may("get", "", "pods", "gpu-relay", "any", "proxy")


def test_kubectl_completes(world: World, relay: Plugin) -> None:
    world.apply_job("digits", suspend=True)
    world.apply_job("defects")
    assert set(relay.completes("")) > {"gpus", "watch", "explain", ":4"}
    assert relay.completes("explain", "-n", world.namespace, "d") == ["defects", "digits", ":4"]
    assert relay.completes("-n", world.namespace, "resume", "") == ["digits", ":4"]
    assert world.namespace in relay.completes("gpus", "-n", world.namespace[:4])
    assert relay.completes("gpus", "--kubeconfig", "") == [":0"], "file names are the shell's"
