"""Plain Jobs of a scenario's tenant, which the real Kueue admits after the operator's check, and Kueue's objects."""

import asyncio
from collections.abc import Sequence
from typing import Any

from devcluster.scripted.manifests import gpu_pod
from gpu_relay.api.words import TRAINER_CONTAINER
from gpu_relay.clients.kube import KubeError, Object
from tests.chaos.api import Api
from tests.chaos.nodes import GPU_RESOURCE

JOB_NAME = "batch.kubernetes.io/job-name"
"""The label of a Job's pods."""
MEMORY = "10Gi"
_KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
_SHARED = "chaos"
"""The AdmissionCheck and the ResourceFlavor of all scenarios."""
_QUEUE = "team"
_CONTROLLER = "gpurelay.dev/turn"
_ALREADY_EXISTS = 409
_RETRIES = 20
_GONE_SECONDS, _LOOK = 30.0, 0.05


async def create_check(api: Api) -> None:
    """Create the operator's AdmissionCheck before any operator starts: its process ends when the first one appears."""
    for plural, kind, spec in (
        ("admissionchecks", "AdmissionCheck", {"controllerName": _CONTROLLER}),
        ("resourceflavors", "ResourceFlavor", {}),
    ):
        try:
            await api.create(f"{_KUEUE}/{plural}", _kueue_object(kind, _SHARED, spec))
        except KubeError as error:
            if error.status != _ALREADY_EXISTS:
                raise


async def delete_check(api: Api) -> None:
    """Delete them, and return when they are gone: Kueue keeps them as long as a ClusterQueue uses them.

    Raises TimeoutError where one stays.
    """
    paths = [f"{_KUEUE}/{plural}/{_SHARED}" for plural in ("admissionchecks", "resourceflavors")]
    for path in paths:
        await api.remove(path)
    async with asyncio.timeout(_GONE_SECONDS):
        for path in paths:
            while await api.find(path) is not None:
                await asyncio.sleep(_LOOK)


class PlainJobs:
    """The plain Jobs of one namespace. They have a ClusterQueue of their own, named after the namespace."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self.opened = False
        """True if the namespace can have plain Jobs."""
        self.is_wide = False
        """True if a Job has pods on several GPUs."""
        self.queue_path = f"{_KUEUE}/clusterqueues/{namespace}"
        self.jobs_path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self.workloads_path = f"{_KUEUE}/namespaces/{namespace}/workloads"
        self._pods = f"/api/v1/namespaces/{namespace}/pods"

    async def open(self, quota: int) -> None:
        """Create a ClusterQueue with the operator's check and so many GPUs, and a LocalQueue."""
        self.opened = True
        resources = [{"name": GPU_RESOURCE, "nominalQuota": quota}]
        group = {"coveredResources": [GPU_RESOURCE], "flavors": [{"name": _SHARED, "resources": resources}]}
        spec = {
            "namespaceSelector": {}, "resourceGroups": [group],
            "admissionChecksStrategy": {"admissionChecks": [{"name": _SHARED}]},
        }  # fmt: skip
        queues = f"{_KUEUE}/namespaces/{self._namespace}/localqueues"
        await self._api.create(f"{_KUEUE}/clusterqueues", _kueue_object("ClusterQueue", self._namespace, spec))
        await self._api.create(queues, _kueue_object("LocalQueue", _QUEUE, {"clusterQueue": self._namespace}))

    async def apply(self, name: str, pods: int = 1, **annotations: str) -> None:
        """Create a Job with so many pods, which have these annotations `gpurelay.dev/…`."""
        self.is_wide = self.is_wide or pods > 1
        spec = gpu_pod(TRAINER_CONTAINER, 1)
        asked = {"gpu-memory": MEMORY, **{key.replace("_", "-"): value for key, value in annotations.items()}}
        pod = {"metadata": {"annotations": {f"gpurelay.dev/{key}": value for key, value in asked.items()}}}
        job = {
            "suspend": True, "backoffLimit": 50, "podReplacementPolicy": "Failed", "template": {**pod, "spec": spec},
            "parallelism": pods, "completions": pods,
        }  # fmt: skip
        meta = {"name": name, "labels": {"kueue.x-k8s.io/queue-name": _QUEUE}}
        await self._api.create(self.jobs_path, {"metadata": meta, "spec": job})

    async def delete(self, name: str, *, orphan: bool = False) -> None:
        """Delete a Job as kubectl does, or leave its pods and its Workload behind."""
        policy = "Orphan" if orphan else "Background"
        await self._api.remove(f"{self.jobs_path}/{name}", propagationPolicy=policy)

    async def change(self, name: str, **spec: Any) -> None:
        """Change fields of a Job's spec."""
        await self._api.merge(f"{self.jobs_path}/{name}", {"spec": spec})

    async def jobs(self) -> list[Object]:
        """Read all Jobs."""
        return await self._api.list(self.jobs_path) if self.opened else []

    async def pods(self) -> list[Object]:
        """Read the pods of all Jobs."""
        return await self._api.list(self._pods, labels=JOB_NAME) if self.opened else []

    async def workload_of(self, job: str) -> Object | None:
        """Read the Workload of a Job; None where there is none."""
        for each in await self._api.list(self.workloads_path):
            if any(owner["name"] == job for owner in each["metadata"].get("ownerReferences", ())):
                return each
        return None

    async def set_conditions(self, job: str, status: Object, *conditions: tuple[str, str, str]) -> None:
        """Change the status of a Job's Workload by hand: fields, and conditions (type, status, reason)."""
        for _ in range(_RETRIES):
            workload = await self.workload_of(job)
            if workload is None:
                return
            meta, old = workload["metadata"], workload.get("status", {}).get("conditions", [])
            kinds = {kind for kind, _, _ in conditions}
            new = [_condition(workload, *each) for each in conditions]
            body = {
                "metadata": {"resourceVersion": meta["resourceVersion"]},
                "status": {**status, "conditions": [*(each for each in old if each["type"] not in kinds), *new]},
            }
            try:
                await self._api.merge(f"{self.workloads_path}/{meta['name']}/status", body)
            except KubeError as error:
                if error.status != _ALREADY_EXISTS:
                    raise
            else:
                return

    async def at_rest(self) -> bool:
        """True when every Job has ended and no pod of a Job is left that has not."""
        ended = all(ends_of(job) for job in await self.jobs())
        return ended and all(pod["status"].get("phase") in {"Succeeded", "Failed"} for pod in await self.pods())

    async def final_state(self) -> Object:
        """Return how each Job has ended, the phases of its pods, and what is left of those that have not ended."""
        pods = sorted((pod["metadata"]["labels"][JOB_NAME], pod["status"].get("phase")) for pod in await self.pods())
        jobs = {job["metadata"]["name"]: ends_of(job) for job in await self.jobs()}
        open_jobs = [
            {"suspend": job["spec"].get("suspend"), **job.get("status", {})}
            for job in await self.jobs()
            if not ends_of(job)
        ]
        workloads = await self._api.list(self.workloads_path) if open_jobs else []
        left = [{"active": each["spec"].get("active"), **each.get("status", {})} for each in workloads]
        return {"plain jobs": jobs, "their pods": pods, "open": open_jobs, "their Workloads": left}

    async def close(self) -> None:
        """Delete all that was created, but the LocalQueue, which goes with its namespace."""
        if not self.opened:
            return
        await self._api.remove(self.jobs_path, propagationPolicy="Background")
        await self._api.remove(self.workloads_path)
        await self._api.remove(self.queue_path)


def ends_of(job: Object) -> Sequence[str]:
    """Return how a Job has ended: the types of its conditions that say so."""
    conditions = job.get("status", {}).get("conditions", ())
    return [each["type"] for each in conditions if each["type"] in {"Complete", "Failed"} and each["status"] == "True"]


def _kueue_object(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _condition(workload: Object, kind: str, status: str, reason: str) -> Object:
    """Return a condition as an administrator writes it; the time is that of the Workload, which is in the past."""
    return {
        "type": kind, "status": status, "reason": reason, "message": "by hand",
        "lastTransitionTime": workload["metadata"]["creationTimestamp"],
        "observedGeneration": workload["metadata"].get("generation", 0),
    }  # fmt: skip
