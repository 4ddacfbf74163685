"""GPUs and residents that change: a job continues on another GPU, or waits without an outage."""

import json
from collections.abc import Callable

import httpx

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.manifests import restricted_pod
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

Start = Callable[..., OperatorProcess]
OLD = "GPU-00000000-0000-0000-0000-000000000001"
NEW = "GPU-00000000-0000-0000-0000-000000000009"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/gpu-relay/leases"


def annotate_lease(api: httpx.Client, gpu: str, annotations: dict[str, str | None]) -> None:
    headers = {"Content-Type": "application/merge-patch+json"}
    body = json.dumps({"metadata": {"annotations": annotations}})
    api.patch(f"{LEASES}/{gpu.lower()}", content=body, headers=headers).raise_for_status()


def test_a_job_whose_node_is_replaced_continues_on_another_gpu(
    world: World, resident: ScriptedResident, other: ScriptedResident, start_operator: Start, api: httpx.Client
) -> None:
    """Law 8: the pending reload of a GPU that does not return stays in its Lease, and delays no job."""
    operator = start_operator()
    world.apply_job("digits")
    world.shows_pod("digits-1")
    world.run_pod("digits-1")
    world.reaches("digits", "Training")
    world.delete_pod("sam3")
    world.delete_pod("digits-1")
    world.add_resident(other, name="sam3-new", node="node-2")
    world.shows_pod("digits-2")
    assert world.gpu_of("digits-2") == NEW.lower()
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


def test_a_resident_that_has_seen_a_newer_fence_than_its_gpu_has(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    """Its GPU's UUID has changed after many turns, and a new Lease begins; its hold file remembers the old one."""
    resident.newest_fence = 2**29
    start_operator()
    for name in ("one", "two"):
        world.apply_job(name)
        world.shows_pod(f"{name}-1")
        world.run_pod(f"{name}-1")
        assert not resident.loaded
        world.end_pod(f"{name}-1")
        world.reaches(name, "Succeeded")
    eventually(world.no_reload_pending, "the Lease to be settled")
    assert resident.loaded
    assert resident.newest_fence == 2**29 + 2


def missing_since(api: httpx.Client, gpu: str) -> str | None:
    answer = api.get(f"{LEASES}/{gpu.lower()}").raise_for_status().json()
    since = answer["metadata"].get("annotations", {}).get("gpurelay.dev/missing-since")
    return None if since is None else str(since)


def test_a_returning_gpu_keeps_its_lease_and_its_pending_reload(
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
    eventually(world.no_reload_pending, "the reload that was owed")
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
    assert world.gpu_of("digits-2") == NEW.lower()
    assert [attempt["reason"] for attempt in world.attempts("digits")] == ["ResidentMissing"]


def test_a_short_absence_of_resident_pods_is_waited_for(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    operator = start_operator(resident_grace="20")
    world.apply_job("digits", gpu={"memory": "10Gi", "startWhen": "ResidentIdle"})
    eventually(lambda: world.waits_for("digits", "ResidentBusy"), "the job to wait")
    world.delete_pod("sam3")
    condition = eventually(lambda: world.waits_for("digits", "ResidentMissing"), "the condition ResidentMissing")
    assert "none for 20 s" in condition["message"]
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
            world.delete_as_kubelet(first)
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
        fence = world.pod("digits-1")["metadata"]["labels"]["gpurelay.dev/fence"]
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
    mute, good = (resident, other) if world.gpu_of("first-1") == OLD.lower() else (other, resident)
    mute.faults.mute = True
    world.apply_job("second")
    world.shows_pod("second-1")
    assert world.gpu_of("second-1") == good.uuid.lower()
    world.apply_job("third")
    condition = eventually(lambda: world.waits_for("third", "ResidentUnreachable"), "the condition ResidentUnreachable")
    assert "does not answer" in condition["message"]
    mute.faults.mute = False
    world.shows_pod("third-1")


def test_a_turn_with_a_silent_resident_moves_to_another_gpu(
    world: World, resident: ScriptedResident, other: ScriptedResident, start_operator: Start
) -> None:
    start_operator(resident_grace="1")
    resident.faults.unload = "still busy"
    world.apply_job("digits", backoffLimit=0)
    eventually(lambda: world.waits_for("digits", "ResidentRefused"), "the turn to begin")
    resident.faults.mute = True
    world.add_resident(other, name="sam3-new", node="node-2")
    world.shows_pod("digits-2")
    assert world.gpu_of("digits-2") == NEW.lower()
    assert [attempt["reason"] for attempt in world.attempts("digits")] == ["ResidentUnreachable"]
