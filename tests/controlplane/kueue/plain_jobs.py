"""Plain Jobs in Kueue, their pods and their Workloads, as a test sees and changes them."""

from typing import Any

import httpx

from devcluster.scripted.manifests import container, gpu_pod
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually


class PlainJobs:
    """Plain Jobs of one test, their pods and their Workloads."""

    def __init__(self, api: httpx.Client, world: World, queue: str) -> None:
        self._api = api
        self._world = world
        self._queue = queue
        self._path = f"/apis/batch/v1/namespaces/{world.namespace}/jobs"
        self._pods = f"/api/v1/namespaces/{world.namespace}/pods"
        self._workloads = f"/apis/kueue.x-k8s.io/v1beta2/namespaces/{world.namespace}/workloads"

    def create(self, name: str, *, memory: str = "10Gi", gpus: int = 1, pods: int = 1, **asks: str) -> None:
        """Create a Job whose label names the LocalQueue; `asks` are annotations `gpurelay.dev/…` of its pods."""
        annotations = {"gpurelay.dev/gpu-memory": memory}
        annotations |= {f"gpurelay.dev/{key.strip('_').replace('_', '-')}": value for key, value in asks.items()}
        template = {"metadata": {"annotations": annotations}, "spec": gpu_pod("main", gpus)}
        labels = {"kueue.x-k8s.io/queue-name": self._queue}
        job = {"suspend": True, "parallelism": pods, "completions": pods, "backoffLimit": 0, "template": template}
        self._api.post(self._path, json={"metadata": {"name": name, "labels": labels}, "spec": job}).raise_for_status()

    def delete(self, name: str, *, orphan: bool = False) -> None:
        """Delete a Job as kubectl does, or leave its pods and its Workload behind."""
        policy = "Orphan" if orphan else "Background"
        self._api.request("DELETE", f"{self._path}/{name}", json={"propagationPolicy": policy})

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
        mine = (each for each in found if _owner(each) == name)
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
        return self.holds(name, "Finished")

    def holds(self, name: str, kind: str) -> bool:
        """Return whether a condition of a Job's Workload is True."""
        conditions = self.workload(name).get("status", {}).get("conditions", [])
        return any(each["type"] == kind and each["status"] == "True" for each in conditions)

    def reasons(self, name: str) -> set[str]:
        """Return the reasons of the Events on a Job."""
        path = f"/api/v1/namespaces/{self._world.namespace}/events"
        found = self._api.get(path, params={"fieldSelector": f"involvedObject.name={name}"}).json()["items"]
        return {each["reason"] for each in found}

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


def _owner(workload: dict[str, Any]) -> str:
    owners = workload["metadata"].get("ownerReferences", [])
    return str(owners[0]["name"]) if owners else ""


def gives_back(world: World, *residents: ScriptedResident) -> None:
    """Wait until each GPU is its resident's again."""
    eventually(world.no_reload_pending, "the resident to be back")
    assert all(each.loaded for each in residents)
