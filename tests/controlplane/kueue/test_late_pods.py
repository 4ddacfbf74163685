"""Pods that the Job controller creates when the turn of its Workload has ended, and Workloads whose Job is gone."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.controlplane.kueue.plain_jobs import PlainJobs, gives_back

JOB_CONTROLLER = "system:serviceaccount:kube-system:job-controller"
PATCH = {"Content-Type": "application/merge-patch+json"}


@pytest.fixture
def room(world: World) -> Iterator[None]:
    """A node to which the scheduler can bind pods."""
    world.set_room("node-1", "8")
    world.set_node("node-1", "True", "kubelet is posting ready status")
    world.set_gpu_shares("node-1", "1")
    yield
    world.set_gpu_shares("node-1", None)
    world.set_room("node-1", None)


def test_a_workload_whose_job_is_gone_keeps_no_gpu(
    world: World, api: httpx.Client, resident: ScriptedResident, jobs: PlainJobs, running: OperatorProcess
) -> None:
    """Kueue leaves such a Workload admitted. Chaos seed 9300066."""
    jobs.create("orphaning")
    pod = jobs.starts("orphaning")["metadata"]["name"]
    workload = jobs.workload("orphaning")["metadata"]["name"]
    jobs.delete("orphaning", orphan=True)
    world.set_pod(pod, phase="Succeeded")
    path = f"/apis/kueue.x-k8s.io/v1beta2/namespaces/{world.namespace}/workloads/{workload}"
    api.patch(path, json={"spec": {"active": False}}, headers=PATCH).raise_for_status()
    gives_back(world, resident)
    api.delete(path)


def test_a_pod_that_is_created_after_its_turn_runs_nowhere(
    world: World,
    api: httpx.Client,
    resident: ScriptedResident,
    room: None,
    jobs: PlainJobs,
    running: OperatorProcess,
) -> None:
    jobs.create("first")
    pod = eventually(lambda: placed(jobs, "first"), "the pod of first to be bound")
    jobs.delete("first")
    world.delete_as_kubelet(pod["metadata"]["name"])
    gives_back(world, resident)
    create_late(api, pod)
    eventually(lambda: "selector" in why_pending(api, world), "the scheduler to find no node for it")
    assert resident.loaded
    jobs.create("next")
    eventually(lambda: placed(jobs, "next"), "the pod of next to be bound: the late one keeps no GPU")
    assert not api.get(f"/api/v1/namespaces/{world.namespace}/pods/late").json()["spec"].get("nodeName")
    jobs.ends("next")
    gives_back(world, resident)


def placed(jobs: PlainJobs, name: str) -> dict[str, Any]:
    """Return the pod of a Job when it is on a node; empty before."""
    return next((each for each in jobs.pods(name) if each["spec"].get("nodeName")), {})


def create_late(api: httpx.Client, pod: dict[str, Any]) -> None:
    """Create the pod again, as the Job controller does."""
    meta, spec = pod["metadata"], dict(pod["spec"])
    del spec["nodeName"]
    spec["volumes"], spec["containers"][0]["volumeMounts"] = [], []
    body = {"metadata": {"name": "late", "labels": meta["labels"], "annotations": meta["annotations"]}, "spec": spec}
    headers = {"Impersonate-User": JOB_CONTROLLER, "Impersonate-Group": "system:masters"}
    answer = api.post(f"/api/v1/namespaces/{meta['namespace']}/pods", json=body, headers=headers)
    assert answer.is_success, answer.text


def why_pending(api: httpx.Client, world: World) -> str:
    """Return what the scheduler says of the late pod."""
    status = api.get(f"/api/v1/namespaces/{world.namespace}/pods/late").json()["status"]
    return next(
        (each.get("message", "") for each in status.get("conditions", ()) if each["type"] == "PodScheduled"), ""
    )
