"""A cluster without Kueue: jobs without a LocalQueue work, the others report what is missing."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from devcluster import Cluster
from devcluster.paths import REPOSITORY
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_NAME = "workloads.kueue.x-k8s.io"


@pytest.fixture
def install_workloads(cluster: Cluster, api: httpx.Client) -> Iterator[Callable[[], None]]:
    """Install the kind Workload of Kueue's API and our rights to it, without a controller; remove it at the end."""
    component = str(REPOSITORY / "manifests/components/kueue/rbac.yaml")

    def install() -> None:
        cluster.kubectl("apply", "-f", component)
        anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        schema = {"type": "object", "properties": {"spec": anything, "status": anything}}
        version = {
            "name": "v1beta2", "served": True, "storage": True, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": schema},
        }  # fmt: skip
        names = {"kind": "Workload", "plural": "workloads", "singular": "workload", "listKind": "WorkloadList"}
        body = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": _NAME,
                "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/kueue"},
            },
            "spec": {"group": "kueue.x-k8s.io", "scope": "Namespaced", "names": names, "versions": [version]},
        }
        assert api.post(_CRDS, json=body).is_success
        eventually(lambda: api.get("/apis/kueue.x-k8s.io/v1beta2/workloads").is_success, "the kind Workload")

    yield install
    api.delete(f"{_CRDS}/{_NAME}")
    cluster.kubectl("delete", "-f", component, "--ignore-not-found")
    eventually(lambda: not api.get("/apis/kueue.x-k8s.io/v1beta2/workloads").is_success, "the kind to be gone")


def test_without_kueue_and_with_kueue_installed_later(
    world: World,
    api: httpx.Client,
    resident: ScriptedResident,
    install_workloads: Callable[[], None],  # before the operator: what it may use goes when it has gone
    start_operator: Callable[..., OperatorProcess],
) -> None:
    first = start_operator()
    world.apply_job("queued", queue="team-a", priority=10)
    condition = eventually(lambda: world.waits_for("queued", "KueueMissing"), "the condition KueueMissing")
    assert condition["message"].startswith(
        f"the label names Kueue's LocalQueue {world.namespace}/team-a, but this cluster"
    )
    assert "install it, or remove the label" in condition["message"]
    world.apply_job("plain")
    world.shows_pod("plain-1")
    world.end_pod("plain-1")
    world.reaches("plain", "Succeeded")
    eventually(lambda: "KueueMissing" in world.events("queued"), "the Event KueueMissing")
    install_workloads()

    def noticed() -> bool:
        world.touch_job("queued")
        return not first.running

    eventually(noticed, "the operator to notice, and to end for a new start", within=60, every=1)
    assert "Kueue has been installed" in first.log()
    start_operator()
    path = f"/apis/kueue.x-k8s.io/v1beta2/namespaces/{world.namespace}/workloads"
    asked = eventually(lambda: api.get(path).json()["items"], "a Workload")
    assert asked[0]["spec"]["queueName"] == "team-a"
    assert asked[0]["metadata"]["ownerReferences"][0]["name"] == "queued"
    condition = eventually(lambda: world.waits_for("queued", "WaitingForKueue"), "the condition WaitingForKueue")
    assert condition["message"].endswith("Kueue has not processed it yet: does its controller run?")


def test_kueue_installed_later_is_found_without_a_job_that_asks(
    world: World, install_workloads: Callable[[], None], start_operator: Callable[..., OperatorProcess]
) -> None:
    """Plain Jobs have Workloads, and need no YoloTrainingJob whose label names a LocalQueue."""
    operator = start_operator(resync_interval="5")
    eventually(lambda: "is the leader" in operator.log(), "the operator to lead")
    install_workloads()
    eventually(lambda: not operator.running, "the operator to notice, and to end for a new start", within=60, every=1)
    assert "Kueue has been installed" in operator.log()
