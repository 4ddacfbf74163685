"""`kubectl relay` with few rights, with hostile texts, and its completion."""

import re
from pathlib import Path

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


@pytest.fixture
def viewer(cluster: Cluster, world: World, api: httpx.Client, tmp_path: Path) -> Plugin:
    """The plugin, run by an account with the role `view` in one namespace only."""
    account = {"metadata": {"name": "viewer"}}
    api.post(f"/api/v1/namespaces/{world.namespace}/serviceaccounts", json=account).raise_for_status()
    binding = {
        "metadata": {"name": "viewer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "viewer", "namespace": world.namespace}],
    }
    api.post(f"{ROLES}/namespaces/{world.namespace}/rolebindings", json=binding).raise_for_status()
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
    assert "you may not list leases.coordination.k8s.io in namespace gpu-relay (a rule with apiGroups" in text
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


def test_kubectl_completes(world: World, relay: Plugin) -> None:
    world.apply_job("digits", suspend=True)
    world.apply_job("defects")
    assert set(relay.completes("")) > {"gpus", "watch", "explain", ":4"}
    assert relay.completes("explain", "-n", world.namespace, "d") == ["defects", "digits", ":4"]
    assert relay.completes("-n", world.namespace, "resume", "") == ["digits", ":4"]
    assert world.namespace in relay.completes("gpus", "-n", world.namespace[:4])
    assert relay.completes("gpus", "--kubeconfig", "") == [":0"], "file names are the shell's"
