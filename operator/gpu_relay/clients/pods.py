"""The client of jobs' pods: live reads, creation, deletion."""

import asyncio
from datetime import datetime

from gpu_relay.api import words
from gpu_relay.clients.kube import Kube, KubeError, Object
from gpu_relay.clients.pod_events import StartEvents
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.pod import TrainingPod, training_pod_of
from gpu_relay.domain.objects.resident import Resident

_IDENTITY = (words.LABEL_JOB_UID, words.LABEL_FENCE, words.LABEL_PREPARATION)

_NO_DRY_RUN = "does not support dry run"
"""Part of the API server's message when it refuses a dry run because of a webhook with side effects."""
_NOT_ENDED = "status.phase!=Succeeded,status.phase!=Failed"


class PodNameTakenError(Exception):
    """A pod of that name exists, and is not of this attempt of this job in this turn."""


class PodStore:
    """The pods of jobs in the cluster, or in one namespace."""

    def __init__(self, kube: Kube, namespace: str | None) -> None:
        self._kube = kube
        self._start_events = StartEvents(kube)
        self.list_path = f"/api/v1/namespaces/{namespace}/pods" if namespace else "/api/v1/pods"

    async def on_gpu(self, lease: GpuLease) -> tuple[TrainingPod, ...]:
        """List the training pods on a GPU, live: all that have not ended, and those of the current turn.

        Pods of earlier turns exist as long as their jobs, and there may be many.
        """
        gpu = f"{words.LABEL_GPU}={lease.gpu}"
        reads = [self._kube.list(self.list_path, labels=gpu, fields=_NOT_ENDED)]
        if lease.owner is not None:
            reads.append(self._kube.list(self.list_path, labels=f"{gpu},{words.LABEL_FENCE}={lease.fence}"))
        if lease.owner is not None and lease.owner.is_workload:
            # Kueue may ask again for a Workload whose former pods have not ended, also on another GPU; and the label of
            # a pod with several GPUs names one of them.
            own = f"{words.LABEL_WORKLOAD_UID}={lease.owner.uid}"
            reads.append(self._kube.list(self.list_path, labels=own, fields=_NOT_ENDED))
        found = {raw["metadata"]["uid"]: raw for listed in await asyncio.gather(*reads) for raw in listed}
        return tuple(training_pod_of(raw) for raw in found.values())

    async def resident_namespaces(self) -> set[str]:
        """List, live, the namespaces of pods with the label of residents that have not ended."""
        found = await self._kube.list(self.list_path, labels=words.LABEL_RESIDENT, fields=_NOT_ENDED)
        return {raw["metadata"]["namespace"] for raw in found}

    async def get(self, namespace: str, name: str) -> TrainingPod | None:
        """Read a pod, live; None if it does not exist."""
        try:
            return training_pod_of(await self._kube.get(f"/api/v1/namespaces/{namespace}/pods/{name}"))
        except KubeError as error:
            if error.not_found:
                return None
            raise

    async def explain(self, pod: TrainingPod, now: datetime, interval: float) -> TrainingPod:
        """Return a waiting pod with the cause from its Events, if its status does not have the cause.

        `domain.job.pod_failures` then classifies it. Events are read at most once in `interval` seconds.
        """
        return await self._start_events.explain(pod, now, interval)

    async def create(self, body: Object) -> None:
        """Create a pod. Success if it exists already, for the same attempt. Raises PodNameTakenError, KubeError."""
        path = f"/api/v1/namespaces/{body['metadata']['namespace']}/pods"
        try:
            await self._kube.create(path, body)
        except KubeError as error:
            if not error.already_exists:
                raise
            await self._expect_same(f"{path}/{body['metadata']['name']}", body)

    async def check(self, body: Object) -> None:
        """Have the API server check a pod in a dry run, including quota and policies; nothing is stored.

        Raises PodNameTakenError if another pod has its name, KubeError if it would be refused.
        """
        try:
            await self._kube.create(f"/api/v1/namespaces/{body['metadata']['namespace']}/pods", body, dry_run=True)
        except KubeError as error:
            if error.already_exists:
                raise PodNameTakenError(_name_taken(body)) from error
            if _NO_DRY_RUN not in str(error):  # with such a webhook, a dry run is not possible
                raise

    async def delete(self, pod: TrainingPod | Resident, grace: int | None = None) -> None:
        """Delete a pod, with its own grace period, or with one of `grace` seconds."""
        await self._kube.delete(f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}", uid=pod.uid, grace=grace)

    async def _expect_same(self, path: str, body: Object) -> None:
        labels = (await self._kube.get(path))["metadata"].get("labels", {})
        wanted = body["metadata"]["labels"]
        if any(labels.get(key) != wanted.get(key) for key in _IDENTITY):
            raise PodNameTakenError(_name_taken(body))


def _name_taken(body: Object) -> str:
    meta = body["metadata"]
    return (
        f"another pod named {meta['name']} exists in namespace {meta['namespace']}; the job waits until it is gone: "
        "delete it, or rename the job"
    )
