"""GPUs, residents and nodes that change: a job continues on another GPU, or waits without an outage."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World, restricted_pod
from devcluster.waiting import eventually

Start = Callable[..., OperatorProcess]
OLD = "GPU-00000000-0000-0000-0000-000000000001"
NEW = "GPU-00000000-0000-0000-0000-000000000009"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/gpu-relay/leases"


@pytest.fixture
def other() -> Iterator[ScriptedResident]:
    """A second resident, of another GPU."""
    resident = ScriptedResident(uuid=NEW)
    yield resident
    resident.close()


def gpu_of(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["labels"]["gpurelay.dev/gpu"])


def pod_named(world: World, name: str) -> dict[str, Any]:
    return next(pod for pod in world.training_pods() if pod["metadata"]["name"] == name)


def annotate_lease(api: httpx.Client, gpu: str, annotations: dict[str, str | None]) -> None:
    headers = {"Content-Type": "application/merge-patch+json"}
    body = json.dumps({"metadata": {"annotations": annotations}})
    api.patch(f"{LEASES}/{gpu.lower()}", content=body, headers=headers).raise_for_status()


def set_node(api: httpx.Client, name: str, spec: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/merge-patch+json"}
    api.patch(f"/api/v1/nodes/{name}", content=json.dumps({"spec": spec}), headers=headers).raise_for_status()


@pytest.fixture
def node_1(api: httpx.Client) -> Iterator[None]:
    """Undo what a test does to node-1."""
    yield
    set_node(api, "node-1", {"unschedulable": None, "taints": None})
    body = json.dumps({"status": {"allocatable": {"nvidia.com/gpu": None}, "capacity": {"nvidia.com/gpu": None}}})
    headers = {"Content-Type": "application/merge-patch+json"}
    api.patch("/api/v1/nodes/node-1/status", content=body, headers=headers).raise_for_status()


def test_a_job_whose_node_is_replaced_continues_on_another_gpu(
    world: World, resident: ScriptedResident, other: ScriptedResident, start_operator: Start, api: httpx.Client
) -> None:
    """Law 8: the debt of a GPU that does not come back stays in its Lease, and holds up no job."""
    operator = start_operator()
    world.apply_job("digits")
    world.shows_pod("digits-1")
    world.run_pod("digits-1")
    world.delete_pod("sam3")
    world.delete_pod("digits-1")
    world.add_resident(other, name="sam3-new", node="node-2")
    world.shows_pod("digits-2")
    assert gpu_of(pod_named(world, "digits-2")) == NEW.lower()
    world.run_pod("digits-2")
    world.end_pod("digits-2")
    world.reaches("digits", "Succeeded")
    eventually(lambda: other.loaded, "the new node's resident to be loaded")
    reloaded = world.condition("digits", "ResidentReloaded")
    assert (reloaded["status"], reloaded["reason"]) == ("True", "ResidentLoaded")
    assert set(world.leases()) == {OLD.lower(), NEW.lower()}

    operator.stop()
    start_operator(resync_interval="5")
    eventually(lambda: missing_since(api, OLD), "the Lease to note since when its GPU is missing")
    annotate_lease(api, OLD, {"gpurelay.dev/missing-since": "2026-01-01T00:00:00Z"})
    eventually(lambda: set(world.leases()) == {NEW.lower()}, "the Lease of the GPU that is gone to be removed")


def missing_since(api: httpx.Client, gpu: str) -> str | None:
    answer = api.get(f"{LEASES}/{gpu.lower()}").raise_for_status().json()
    since = answer["metadata"].get("annotations", {}).get("gpurelay.dev/missing-since")
    return None if since is None else str(since)


def test_a_gpu_that_comes_back_keeps_its_lease_and_its_debt_is_paid(
    world: World, resident: ScriptedResident, start_operator: Start, api: httpx.Client
) -> None:
    start_operator(resync_interval="5")
    world.apply_job("digits")
    world.shows_pod("digits-1")
    world.delete_pod("sam3")
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")
    eventually(lambda: missing_since(api, OLD), "the Lease to note since when its GPU is missing")
    resident.hold = None
    world.add_resident(resident, name="sam3-again")
    eventually(world.nothing_owed, "the reload that was owed")
    assert resident.loaded
    eventually(lambda: not missing_since(api, OLD), "the note to go")


def test_a_job_in_acquiring_leaves_a_gpu_whose_resident_is_gone(
    world: World, resident: ScriptedResident, other: ScriptedResident, start_operator: Start
) -> None:
    start_operator(resident_grace="1")
    resident.faults.unload = "still busy"
    world.apply_job("digits", backoffLimit=0)
    eventually(lambda: world.waits_for("digits", "ResidentRefused"), "the turn to begin")
    world.delete_pod("sam3")
    world.add_resident(other, name="sam3-new", node="node-2")
    world.shows_pod("digits-2")
    assert gpu_of(pod_named(world, "digits-2")) == NEW.lower()
    assert [attempt["reason"] for attempt in world.attempts("digits")] == ["ResidentMissing"]


def test_an_instant_without_a_resident_pod_is_no_cluster_without_residents(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    operator = start_operator(resident_grace="20")
    world.apply_job("digits", gpu={"memory": "10Gi", "startWhen": "ResidentIdle"})
    eventually(lambda: world.waits_for("digits", "ResidentBusy"), "the job to wait")
    world.delete_pod("sam3")
    told = eventually(lambda: world.waits_for("digits", "ResidentMissing"), "the condition ResidentMissing")
    assert "none for 20 s" in told["message"]
    operator.stop()
    start_operator(resident_grace="20")  # which knows nothing of the time before it
    eventually(lambda: len(world.leader()) > 0, "the next operator to lead")
    assert world.leases() == {}
    resident.idle_seconds = 3600
    world.add_resident(resident, name="sam3-again")
    world.shows_pod("digits-1")
    assert set(world.leases()) == {OLD.lower()}


def test_a_rollout_of_the_residents_deployment(
    world: World, resident: ScriptedResident, operator: OperatorProcess, api: httpx.Client
) -> None:
    """The real Deployment controller with the strategy Recreate; the test ends and runs its pods, as a kubelet does."""
    world.delete_pod("sam3")
    template = {
        "metadata": {"labels": {"app": "sam3", "gpurelay.dev/resident": "sam3"}},
        "spec": {"nodeName": "node-1", **restricted_pod("sam3", "gpu-relay/sam3")},
    }
    body = {
        "metadata": {"name": "sam3"},
        "spec": {"strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"app": "sam3"}}, "template": template},
    }
    path = f"/apis/apps/v1/namespaces/{world.namespace}/deployments"
    api.post(path, json=body).raise_for_status()
    try:
        first = run_resident(world, resident, api, but="")
        world.apply_job("digits", gpu={"memory": "10Gi", "startWhen": "ResidentIdle"})
        eventually(lambda: world.waits_for("digits", "ResidentBusy"), "the job to wait")
        for number in range(4):
            again = {"spec": {"template": {"metadata": {"annotations": {"restarted": str(number)}}}}}
            headers = {"Content-Type": "application/merge-patch+json"}
            api.patch(f"{path}/sam3", content=json.dumps(again), headers=headers).raise_for_status()
            world.obey(first)
            first = run_resident(world, resident, api, but=first)
            assert "gpu-unmanaged" not in world.leases()
        resident.idle_seconds = 3600
        world.shows_pod("digits-1")
        assert set(world.leases()) == {OLD.lower()}
    finally:
        api.delete(f"{path}/sam3")


def run_resident(world: World, resident: ScriptedResident, api: httpx.Client, *, but: str) -> str:
    """Run the Deployment's new pod, as a kubelet does; return its name."""
    pods = f"/api/v1/namespaces/{world.namespace}/pods"

    def found() -> str | None:
        items = api.get(pods, params={"labelSelector": "app=sam3"}).json()["items"]
        return next((each["metadata"]["name"] for each in items if each["metadata"]["name"] != but), None)

    name = eventually(found, "the Deployment's new pod")
    world.set_pod(name, phase="Running", podIP=resident.ip, podIPs=[{"ip": resident.ip}])
    return name


def test_two_residents_on_one_gpu_are_both_held(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    twin = ScriptedResident(uuid=resident.uuid, model_mib=0, cap_mib=0)
    world.add_resident(twin, name="sam3-surge")
    try:
        world.apply_job("digits")
        world.shows_pod("digits-1")
        fence = pod_named(world, "digits-1")["metadata"]["labels"]["gpurelay.dev/fence"]
        assert [str(each.hold and each.hold["fence"]) for each in (resident, twin)] == [fence, fence]
        warned = eventually(lambda: world.event("digits", "MultipleResidents"), "the Event MultipleResidents")
        assert f"{world.namespace}/sam3-surge" in warned["note"]
        assert warned["type"] == "Warning"
        world.end_pod("digits-1")
        world.reaches("digits", "Succeeded")
        eventually(lambda: resident.loaded and resident.hold is None and twin.hold is None, "both holds to end")
    finally:
        twin.close()


def test_a_silent_resident_delays_no_job_that_another_gpu_fits(
    world: World, resident: ScriptedResident, other: ScriptedResident, operator: OperatorProcess
) -> None:
    world.add_resident(other, name="sam3-new", node="node-2")
    world.apply_job("first", gpu={"memory": "10Gi", "residentSelector": {"matchLabels": {}}})
    world.shows_pod("first-1")
    world.end_pod("first-1")
    world.reaches("first", "Succeeded")
    mute, good = (resident, other) if gpu_of(pod_named(world, "first-1")) == OLD.lower() else (other, resident)
    mute.faults.mute = True
    world.apply_job("second")
    world.shows_pod("second-1")
    assert gpu_of(pod_named(world, "second-1")) == good.uuid.lower()
    world.apply_job("third")
    told = eventually(lambda: world.waits_for("third", "ResidentUnreachable"), "the condition ResidentUnreachable")
    assert "does not answer" in told["message"]
    mute.faults.mute = False
    world.shows_pod("third-1")


def test_a_turn_whose_resident_falls_silent_is_given_up_for_another_gpu(
    world: World, resident: ScriptedResident, other: ScriptedResident, start_operator: Start
) -> None:
    start_operator(resident_grace="1")
    resident.faults.unload = "still busy"
    world.apply_job("digits", backoffLimit=0)
    eventually(lambda: world.waits_for("digits", "ResidentRefused"), "the turn to begin")
    resident.faults.mute = True
    world.add_resident(other, name="sam3-new", node="node-2")
    world.shows_pod("digits-2")
    assert gpu_of(pod_named(world, "digits-2")) == NEW.lower()
    assert [attempt["reason"] for attempt in world.attempts("digits")] == ["ResidentUnreachable"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"unschedulable": True}, "node node-1 is cordoned"),
        (
            {"taints": [{"key": "team", "value": "other", "effect": "NoSchedule"}]},
            "node node-1 has the taint team=other:NoSchedule",
        ),
    ],
    ids=["cordon", "taint"],
)
def test_a_node_that_takes_no_pods_is_passed_over_and_its_resident_stays_loaded(
    world: World,
    resident: ScriptedResident,
    other: ScriptedResident,
    operator: OperatorProcess,
    api: httpx.Client,
    node_1: None,
    spec: dict[str, Any],
    message: str,
) -> None:
    set_node(api, "node-1", spec)
    world.apply_job("digits")
    told = eventually(lambda: world.waits_for("digits", "NodeUnavailable"), "the condition NodeUnavailable")
    assert message in told["message"]
    assert resident.loaded
    assert not resident.called("unload")
    world.add_resident(other, name="sam3-new", node="node-2")
    world.shows_pod("digits-1")
    assert gpu_of(pod_named(world, "digits-1")) == NEW.lower()
    world.apply_job("second")
    eventually(lambda: world.waits_for("second", "NodeUnavailable"), "the condition NodeUnavailable")
    set_node(api, "node-1", {"unschedulable": None, "taints": None})
    world.shows_pod("second-1")


def test_a_cordon_soon_after_a_placement_is_seen_before_the_next_one(
    world: World, resident: ScriptedResident, operator: OperatorProcess, api: httpx.Client, node_1: None
) -> None:
    world.apply_job("first")
    world.shows_pod("first-1")
    world.end_pod("first-1")
    world.reaches("first", "Succeeded")
    eventually(world.nothing_owed, "the resident to be back")
    unloads = len(resident.called("unload"))
    set_node(api, "node-1", {"unschedulable": True})
    time.sleep(1.5)  # the documented age of a node's state, and a margin
    world.apply_job("second")
    eventually(lambda: world.waits_for("second", "NodeUnavailable"), "the condition NodeUnavailable")
    assert len(resident.called("unload")) == unloads


def test_a_toleration_of_the_job_opens_a_tainted_node(
    world: World, resident: ScriptedResident, operator: OperatorProcess, api: httpx.Client, node_1: None
) -> None:
    set_node(api, "node-1", {"taints": [{"key": "team", "value": "vision", "effect": "NoSchedule"}]})
    world.apply_job("digits", podTemplate={"tolerations": [{"key": "team", "operator": "Exists"}]})
    world.shows_pod("digits-1")


def test_a_gpu_without_a_free_share_is_not_taken(
    world: World, resident: ScriptedResident, operator: OperatorProcess, api: httpx.Client, node_1: None
) -> None:
    offered = {"nvidia.com/gpu": "1"}
    body = json.dumps({"status": {"allocatable": offered, "capacity": offered}})
    headers = {"Content-Type": "application/merge-patch+json"}
    api.patch("/api/v1/nodes/node-1/status", content=body, headers=headers).raise_for_status()
    notebook = restricted_pod("notebook", "x")
    notebook["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "1"}}
    pods = f"/api/v1/namespaces/{world.namespace}/pods"
    api.post(pods, json={"metadata": {"name": "notebook"}, "spec": {"nodeName": "node-1", **notebook}})
    world.apply_job("digits")
    told = eventually(lambda: world.waits_for("digits", "NodeUnavailable"), "the condition NodeUnavailable")
    assert "its pods use 1 of 1" in told["message"]
    assert not resident.called("unload")
    world.delete_pod("notebook")
    world.shows_pod("digits-1")
