"""Pods of jobs: live reads, creation, deletion."""

import asyncio

from gpu_relay.api import words
from gpu_relay.domain.model import GpuLease, Resident, TrainingPod
from gpu_relay.effects.kube import Kube, KubeError, Object
from gpu_relay.effects.objects import training_pod_of

_IDENTITY = (words.LABEL_JOB_UID, words.LABEL_FENCE, words.LABEL_PREPARATION)

_NOT_ENDED = "status.phase!=Succeeded,status.phase!=Failed"


class PodNameTakenError(Exception):
    """A pod of that name exists and is not this attempt of this job in this turn."""


class PodStore:
    """Training pods in the cluster, or in one namespace of it."""

    def __init__(self, kube: Kube, namespace: str | None) -> None:
        self._kube = kube
        self.list_path = f"/api/v1/namespaces/{namespace}/pods" if namespace else "/api/v1/pods"

    async def on_gpu(self, lease: GpuLease) -> tuple[TrainingPod, ...]:
        """List the training pods on a GPU, live: all that have not ended, and the present turn's in any case.

        Those of turns that are over stay for as long as their jobs, and may be many.
        """
        gpu = f"{words.LABEL_GPU}={lease.gpu}"
        reads = [self._kube.list(self.list_path, labels=gpu, fields=_NOT_ENDED)]
        if lease.owner is not None:
            reads.append(self._kube.list(self.list_path, labels=f"{gpu},{words.LABEL_FENCE}={lease.fence}"))
        found = {raw["metadata"]["uid"]: raw for listed in await asyncio.gather(*reads) for raw in listed}
        return tuple(training_pod_of(raw) for raw in found.values())

    async def get(self, namespace: str, name: str) -> TrainingPod | None:
        """Read a pod, live; None where it does not exist."""
        try:
            return training_pod_of(await self._kube.get(f"/api/v1/namespaces/{namespace}/pods/{name}"))
        except KubeError as error:
            if error.not_found:
                return None
            raise

    async def create(self, body: Object) -> None:
        """Create a pod; one that exists already and is the very same attempt is as good."""
        path = f"/api/v1/namespaces/{body['metadata']['namespace']}/pods"
        try:
            await self._kube.create(path, body)
        except KubeError as error:
            if not error.already_exists:
                raise
            await self._expect_same(f"{path}/{body['metadata']['name']}", body)

    async def delete(self, pod: TrainingPod | Resident) -> None:
        """Tell a pod to stop, with its own grace period."""
        await self._kube.delete(f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}", uid=pod.uid)

    async def _expect_same(self, path: str, body: Object) -> None:
        labels = (await self._kube.get(path))["metadata"].get("labels", {})
        wanted = body["metadata"]["labels"]
        if any(labels.get(key) != wanted.get(key) for key in _IDENTITY):
            name = body["metadata"]["name"]
            raise PodNameTakenError(
                f"a pod named {name} exists that does not belong to this attempt: delete it or rename the job"
            )
