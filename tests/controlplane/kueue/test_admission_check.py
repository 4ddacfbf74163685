"""Jobs of any kind in turn through the operator's admission check, with the real Kueue and Job controller."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.manifests import container, restricted_pod
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.controlplane.kueue.conftest import Quotas

Start = Callable[..., OperatorProcess]
_CHECKS = "/apis/kueue.x-k8s.io/v1beta2/admissionchecks"


class PlainJobs:
    """Plain Jobs of one test, their pods and their Workloads."""

    def __init__(self, api: httpx.Client, world: World, queue: str) -> None:
        self._api = api
        self._world = world
        self._queue = queue
        self._path = f"/apis/batch/v1/namespaces/{world.namespace}/jobs"
        self._pods = f"/api/v1/namespaces/{world.namespace}/pods"
        self._workloads = f"/apis/kueue.x-k8s.io/v1beta2/namespaces/{world.namespace}/workloads"

    def create(self, name: str, *, memory: str = "10Gi", gpus: int = 1, pods: int = 1) -> None:
        """Create a Job whose label names the LocalQueue."""
        spec = restricted_pod("main", "x") | {"restartPolicy": "Never"}
        spec["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": str(gpus)}}
        template = {"metadata": {"annotations": {"gpurelay.dev/gpu-memory": memory}}, "spec": spec}
        labels = {"kueue.x-k8s.io/queue-name": self._queue}
        job = {"suspend": True, "parallelism": pods, "completions": pods, "backoffLimit": 0, "template": template}
        self._api.post(self._path, json={"metadata": {"name": name, "labels": labels}, "spec": job}).raise_for_status()

    def delete(self, name: str) -> None:
        """Delete a Job as kubectl does."""
        self._api.request("DELETE", f"{self._path}/{name}", json={"propagationPolicy": "Background"})

    def pods(self, name: str) -> list[dict[str, Any]]:
        """Return the pods of a Job."""
        selector = {"labelSelector": f"batch.kubernetes.io/job-name={name}"}
        return list(self._api.get(self._pods, params=selector).json()["items"])

    def starts(self, name: str) -> dict[str, Any]:
        """Wait for the pod of a Job; bind it and have it run."""
        pod = eventually(lambda: self.pods(name), f"the pod of {name}")[0]
        self._world.bind_pod(pod["metadata"]["name"], "node-1")
        self._world.set_pod(pod["metadata"]["name"], phase="Running")
        return dict(pod)

    def ends(self, name: str) -> None:
        """Have the pod of a Job succeed."""
        ended = container({"terminated": {"exitCode": 0, "reason": "Completed"}}, "main")
        self._world.set_pod(self.pods(name)[0]["metadata"]["name"], phase="Succeeded", containerStatuses=[ended])

    def workload(self, name: str) -> dict[str, Any]:
        """Return the Workload of a Job; empty while there is none."""
        found = self._api.get(self._workloads).json()["items"]
        mine = (each for each in found if each["metadata"]["ownerReferences"][0]["name"] == name)
        return next(mine, {})

    def check(self, name: str) -> dict[str, Any]:
        """Return the entry of the operator's check; empty while there is none."""
        return dict(next(iter(self.workload(name).get("status", {}).get("admissionChecks", [])), {}))

    def says(self, name: str, words: str) -> None:
        """Wait until the check of a Job is Pending with a message that has these words."""
        eventually(lambda: words in self.check(name).get("message", ""), f"the check of {name} to say {words!r}")
        assert self.check(name)["state"] == "Pending"

    def finished(self, name: str) -> bool:
        """Return whether Kueue counts a Job's Workload as finished."""
        conditions = self.workload(name).get("status", {}).get("conditions", [])
        return any(each["type"] == "Finished" and each["status"] == "True" for each in conditions)

    def close(self) -> None:
        """Delete all Jobs, and their pods as a kubelet does."""
        self._api.request("DELETE", self._path, json={"propagationPolicy": "Background"})
        eventually(self._no_pods, "no pods of Jobs left", every=0.3)

    def _no_pods(self) -> bool:
        selector = {"labelSelector": "batch.kubernetes.io/job-name"}
        found = self._api.get(self._pods, params=selector).json()["items"]
        for pod in found:
            self._api.request("DELETE", f"{self._pods}/{pod['metadata']['name']}", json={"gracePeriodSeconds": 0})
        return not found


@pytest.fixture
def jobs(api: httpx.Client, world: World, quotas: Quotas) -> Iterator[PlainJobs]:
    """A LocalQueue whose ClusterQueue has the operator's check, and enough quota for all."""
    name = world.namespace
    body = {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "AdmissionCheck",
        "metadata": {"name": name},
        "spec": {"controllerName": "gpurelay.dev/turn"},
    }
    api.post(_CHECKS, json=body).raise_for_status()
    quotas.create(8, "team", admissionChecksStrategy={"admissionChecks": [{"name": name}]})
    jobs = PlainJobs(api, world, "team")
    yield jobs
    jobs.close()
    api.delete(f"/apis/gpurelay.dev/v1alpha1/namespaces/{name}/yolotrainingjobs")
    quotas.close()
    api.delete(f"{_CHECKS}/{name}")


@pytest.fixture
def running(jobs: PlainJobs, operator: OperatorProcess) -> OperatorProcess:
    """The operator, which has found the check at its start."""
    return operator


def gives_back(world: World, resident: ScriptedResident) -> None:
    eventually(world.no_reload_pending, "the resident to be back")
    assert resident.loaded


def test_a_plain_job_takes_the_gpu_and_gives_it_back(
    world: World, resident: ScriptedResident, jobs: PlainJobs, running: OperatorProcess
) -> None:
    jobs.create("plain")
    pod = jobs.starts("plain")
    assert not resident.loaded
    uid = jobs.workload("plain")["metadata"]["uid"]
    holder = next(iter(world.leases().values()))
    assert holder == f"workload/{world.namespace}/{jobs.workload('plain')['metadata']['name']}/{uid}"
    assert pod["spec"]["nodeSelector"] == {"kubernetes.io/hostname": "node-1"}
    labels, annotations = pod["metadata"]["labels"], pod["metadata"]["annotations"]
    assert labels["gpurelay.dev/workload-uid"] == uid
    assert annotations["gpurelay.dev/gpu"].lower() == labels["gpurelay.dev/gpu"]
    assert int(annotations["gpurelay.dev/proven-free-mib"]) >= 10240
    assert "measured, 10,240 MiB needed" in jobs.check("plain")["message"]
    jobs.ends("plain")
    eventually(lambda: jobs.finished("plain"), "the Workload to be finished")
    gives_back(world, resident)


def test_jobs_and_yolotrainingjobs_take_turns(
    world: World, resident: ScriptedResident, jobs: PlainJobs, running: OperatorProcess
) -> None:
    jobs.create("first")
    jobs.starts("first")
    world.apply_job("digits", queue="team")
    eventually(lambda: world.waits_for("digits", "WaitingInQueue"), "digits to wait for its turn")
    jobs.create("last")
    jobs.says("last", "others are ahead")
    assert not jobs.pods("last")
    jobs.ends("first")
    world.shows_pod("digits-1")
    assert not jobs.pods("last")
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")
    jobs.starts("last")
    jobs.ends("last")
    gives_back(world, resident)


def test_a_job_deleted_while_it_waits_leaves_nothing(
    world: World, resident: ScriptedResident, jobs: PlainJobs, running: OperatorProcess
) -> None:
    jobs.create("first")
    jobs.starts("first")
    jobs.create("second")
    jobs.says("second", "others are ahead")
    jobs.delete("second")
    eventually(lambda: not jobs.workload("second"), "the Workload to be gone")
    jobs.ends("first")
    gives_back(world, resident)
    assert not jobs.pods("second")


def test_a_job_deleted_while_it_runs_keeps_the_gpu_till_its_end(
    world: World, resident: ScriptedResident, jobs: PlainJobs, running: OperatorProcess
) -> None:
    jobs.create("plain")
    pod = jobs.starts("plain")["metadata"]["name"]
    jobs.delete("plain")
    eventually(lambda: not jobs.workload("plain") and not world.exists(pod), "the Workload to be gone, the pod to end")
    loads = len(resident.called("load"))
    jobs.create("next")
    jobs.says("next", "others are ahead")
    assert len(resident.called("load")) == loads, "the pod still terminates"
    assert not jobs.pods("next")
    world.delete_as_kubelet(pod)
    jobs.starts("next")
    jobs.ends("next")
    gives_back(world, resident)


def test_an_operator_killed_after_ready_continues(
    world: World, resident: ScriptedResident, jobs: PlainJobs, running: OperatorProcess, start_operator: Start
) -> None:
    jobs.create("plain")
    jobs.starts("plain")
    running.kill()
    jobs.ends("plain")
    eventually(lambda: jobs.finished("plain"), "the Workload to be finished")
    assert not resident.loaded
    start_operator()
    gives_back(world, resident)


def test_what_cannot_have_a_turn_says_so(
    world: World, resident: ScriptedResident, jobs: PlainJobs, running: OperatorProcess
) -> None:
    jobs.create("two-pods", pods=2)
    jobs.says("two-pods", "has 2 pods, and takes turns with one pod and one GPU only, so far")
    jobs.create("two-gpus", gpus=2)
    jobs.says("two-gpus", "requests 2 GPUs")
    jobs.create("huge", memory="100Gi")
    jobs.says("huge", "has at most 14,654 MiB for a job")
    jobs.create("vague", memory="lots")
    jobs.says("vague", "the annotation gpurelay.dev/gpu-memory of the pod template is 'lots'")
    assert resident.loaded and not resident.called("unload")
