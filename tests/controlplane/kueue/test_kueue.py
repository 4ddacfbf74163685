"""Jobs whose label names a LocalQueue, admitted by the real Kueue."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.controlplane.kueue.conftest import Quotas

Start = Callable[..., OperatorProcess]


@pytest.fixture
def second(world: World) -> Iterator[ScriptedResident]:
    """A second GPU, so that what holds jobs back is the quota."""
    second = ScriptedResident(uuid="GPU-00000000-0000-0000-0000-000000000002")
    world.add_resident(second, name="sam3-b", node="node-2")
    yield second
    second.close()


def waits(world: World, job: str) -> str:
    condition = eventually(lambda: world.waits_for(job, "WaitingForKueue"), f"{job} to wait for Kueue")
    return str(condition["message"])


def trains(world: World, pod: str) -> None:
    """Have a training pod run, bound to its node: it then ends with a grace period."""
    world.shows_pod(pod)
    job = pod.rsplit("-", 1)[0]
    world.bind_pod(pod, eventually(lambda: world.job(job)["status"]["gpu"].get("node"), f"the node of {job}"))
    world.run_pod(pod)


def test_jobs_are_admitted_as_quota_and_kueues_order_allow(
    world: World, resident: ScriptedResident, second: ScriptedResident, quotas: Quotas, operator: OperatorProcess
) -> None:
    quotas.create(1, "team-a", "team-b")
    world.apply_job("first", queue="team-a")
    trains(world, "first-1")
    eventually(lambda: quotas.holds("first", "PodsReady"), "Kueue to know that the pod runs")
    world.apply_job("later", queue="team-a")
    assert "insufficient unused quota for nvidia.com/gpu" in waits(world, "later")
    world.apply_job("urgent", queue="team-b", priority=5)
    assert waits(world, "urgent").startswith(f"Kueue's LocalQueue {world.namespace}/team-b: couldn't assign flavors")
    assert "queuePosition" not in world.job("urgent")["status"]
    world.apply_job("plain")
    trains(world, "plain-1")
    assert world.pod_names() == ["first-1", "plain-1"], "one GPU of quota, and a job that Kueue is not asked about"
    world.end_pod("first-1")
    world.reaches("first", "Succeeded")
    trains(world, "urgent-1")
    assert quotas.holds("first", "Finished")
    assert "later-1" not in world.pod_names()
    world.end_pod("urgent-1", "DatasetInvalid", 13)
    world.reaches("urgent", "Failed")
    trains(world, "later-1")
    finished = [each for each in quotas.workload("urgent")["status"]["conditions"] if each["type"] == "Finished"]
    assert (finished[0]["reason"], finished[0]["message"]) == ("Failed", "said DatasetInvalid")
    for name in ("later", "plain"):
        world.end_pod(f"{name}-1")
        world.reaches(name, "Succeeded")
    eventually(lambda: quotas.reserved() == 0, "all quota to be free")
    assert world.events("first")[:2] == ["Admitted", "GPULeased"]
    assert quotas.workload("plain") == {}


def test_a_job_evicted_by_kueue_resumes_when_admitted_again(
    world: World, resident: ScriptedResident, quotas: Quotas, operator: OperatorProcess, start_operator: Start
) -> None:
    quotas.create(1, "team")
    world.apply_job("digits", queue="team", backoffLimit=0)
    trains(world, "digits-1")
    quotas.set_active("digits", False)
    condition = eventually(lambda: world.waits_for("digits", "QuotaWithdrawn"), "the condition QuotaWithdrawn")
    assert "The workload is deactivated" in condition["message"]
    assert "admission" in quotas.workload("digits")["status"], "not given back before the training has ended"
    operator.kill()
    world.end_pod("digits-1", "Interrupted", 143, epoch=4)
    start_operator()
    assert "The workload is deactivated" in waits(world, "digits")
    eventually(lambda: "admission" not in quotas.workload("digits")["status"], "the quota to be given back")
    attempt = world.attempts("digits")[0]
    assert (attempt["reason"], attempt["epoch"]) == ("QuotaWithdrawn", 4)
    eventually(world.no_reload_pending, "the resident to be back")
    assert resident.loaded
    quotas.set_active("digits", True)
    trains(world, "digits-2")
    world.end_pod("digits-2")
    world.reaches("digits", "Succeeded")
    eventually(lambda: quotas.holds("digits", "Finished"), "the Workload to be finished")


def test_kueue_preempts_for_a_more_urgent_job(
    world: World, resident: ScriptedResident, second: ScriptedResident, quotas: Quotas, operator: OperatorProcess
) -> None:
    quotas.create(1, "team", preemption={"withinClusterQueue": "LowerPriority"})
    world.apply_job("low", queue="team")
    trains(world, "low-1")
    world.apply_job("high", queue="team", priority=10)
    condition = eventually(lambda: world.waits_for("low", "QuotaWithdrawn"), "the condition QuotaWithdrawn")
    assert "Preempted to accommodate a workload" in condition["message"]
    assert "high-1" not in world.pod_names(), "not before the other has ended, although a GPU is free"
    world.end_pod("low-1", "Interrupted", 143)
    trains(world, "high-1")
    waits(world, "low")
    world.end_pod("high-1")
    trains(world, "low-2")
    world.end_pod("low-2")
    world.reaches("low", "Succeeded")


def test_a_local_queue_that_does_not_exist_is_named(
    world: World, resident: ScriptedResident, quotas: Quotas, operator: OperatorProcess
) -> None:
    quotas.create(1, "there")
    world.apply_job("digits", queue="nowhere")
    expected = f"Kueue's LocalQueue {world.namespace}/nowhere: LocalQueue nowhere doesn't exist"
    assert waits(world, "digits") == expected
    world.apply_job("moved", queue="nowhere")
    waits(world, "moved")
    world.label_job("moved", "kueue.x-k8s.io/queue-name", "there")
    trains(world, "moved-1")
    world.end_pod("moved-1")
    world.reaches("moved", "Succeeded")
    quotas.create_queue("nowhere")
    trains(world, "digits-1")


def test_suspended_jobs_and_those_without_the_label_hold_no_quota(
    world: World, resident: ScriptedResident, quotas: Quotas, operator: OperatorProcess
) -> None:
    quotas.create(1, "team")
    world.apply_job("digits", queue="team")
    trains(world, "digits-1")
    world.patch_job("digits", suspend=True)
    world.delete_as_kubelet("digits-1")
    world.reaches("digits", "Suspended")
    eventually(lambda: quotas.reserved() == 0 and not quotas.workload("digits"), "the quota to be free")
    world.apply_job("other", queue="team")
    trains(world, "other-1")
    world.patch_job("digits", suspend=False)
    waits(world, "digits")
    world.label_job("digits", "kueue.x-k8s.io/queue-name", None)
    eventually(lambda: not quotas.workload("digits"), "Kueue to be asked no longer")
    world.end_pod("other-1")
    trains(world, "digits-2")


def test_a_workload_that_is_deleted_is_asked_for_again(
    world: World, resident: ScriptedResident, quotas: Quotas, operator: OperatorProcess
) -> None:
    quotas.create(1, "team")
    world.apply_job("digits", queue="team")
    trains(world, "digits-1")
    quotas.delete_workload("digits")
    condition = eventually(lambda: world.waits_for("digits", "QuotaWithdrawn"), "the condition QuotaWithdrawn")
    assert "its Workload was deleted" in condition["message"]
    world.delete_as_kubelet("digits-1")
    trains(world, "digits-2")
    world.patch_job("digits", priority=7)
    eventually(lambda: quotas.workload("digits")["spec"]["priority"] == 7, "the new priority")
    world.end_pod("digits-2")
    world.reaches("digits", "Succeeded")


def test_a_changed_request_replaces_the_workload(
    world: World, resident: ScriptedResident, quotas: Quotas, operator: OperatorProcess
) -> None:
    quotas.create(1, "team")
    world.apply_job("first", queue="team")
    trains(world, "first-1")
    world.apply_job("digits", queue="team")
    waits(world, "digits")
    before = quotas.workload("digits")["metadata"]["uid"]
    world.patch_job("digits", podTemplate={"resources": {"requests": {"cpu": "2"}}})
    eventually(lambda: quotas.workload("digits").get("metadata", {}).get("uid") not in {None, before}, "a new request")
    eventually(lambda: "resource cpu unavailable in ClusterQueue" in waits(world, "digits"), "Kueue's words of it")


def test_a_flavor_selects_the_node(
    world: World, resident: ScriptedResident, second: ScriptedResident, quotas: Quotas, operator: OperatorProcess
) -> None:
    toleration = {"key": "team", "operator": "Equal", "value": "a", "effect": "NoSchedule"}
    flavor = {"nodeLabels": {"kubernetes.io/hostname": "node-2"}, "tolerations": [toleration]}
    quotas.create(1, "team", flavor=flavor)
    world.apply_job("digits", queue="team")
    world.shows_pod("digits-1")
    pod: dict[str, Any] = world.training_pods()[0]
    assert world.job("digits")["status"]["gpu"]["node"] == "node-2"
    assert pod["spec"]["nodeSelector"] == {"kubernetes.io/hostname": "node-2"}
    assert toleration in pod["spec"]["tolerations"]
    assert "schedulingGates" not in pod["spec"], "Kueue leaves the pods of our jobs to us"
    assert (resident.loaded, second.loaded) == (True, False)
