"""The client of YoloTrainingJobs: live reads, and the only writer of their status."""

from gpu_relay.api import words
from gpu_relay.api.v1alpha1 import YoloTrainingJobStatus
from gpu_relay.api.words import ConditionType, Reason
from gpu_relay.clients import clock
from gpu_relay.clients.kube import Kube, KubeError, Object
from gpu_relay.domain.objects.job import Job, UnreadableJob, conditions_of, job_of
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.quantities import timestamp

_BASE = f"/apis/{words.API_VERSION}"


class JobStore:
    """The jobs of the cluster, or of one namespace."""

    def __init__(self, kube: Kube, namespace: str | None) -> None:
        self._kube = kube
        self._written: dict[str, str] = {}
        self.list_path = f"{_BASE}/namespaces/{namespace}/{words.PLURAL}" if namespace else f"{_BASE}/{words.PLURAL}"

    async def get(self, key: JobKey) -> Job | None:
        """Read a job, live; None if it is gone, or replaced by another of the same name.

        Raises UnreadableJobError if it exists and a field cannot be read: it is unknown, not gone (law 10).
        """
        raw = await self._get(key)
        return None if raw is None else job_of(raw)

    async def _get(self, key: JobKey) -> Object | None:
        try:
            raw = await self._kube.get(_path(key))
        except KubeError as error:
            if error.not_found:
                return None
            raise
        return raw if raw["metadata"]["uid"] == key.uid else None

    async def write_status(self, job: Job, status: YoloTrainingJobStatus) -> None:
        """Write the whole status if it has changed. Raises KubeError: conflict if the job changed since it was read.

        The status is replaced, not applied: an apply would keep fields that other clients have written, and the API
        server would refuse a partial object that lacks required fields.
        """
        if status == job.status:
            return
        body = status.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        written = await self._kube.set_field(f"{_path(job.key)}/status", job.resource_version, "/status", body)
        self._written[job.key.uid] = written["metadata"]["resourceVersion"]

    async def report_unreadable(self, job: UnreadableJob) -> None:
        """Set the condition Unreadable, and keep the rest of a status that this version cannot read.

        This is a merge patch of the conditions: to apply the status would remove the fields that were not read.
        Raises KubeError: conflict if the job has changed.
        """
        raw = await self._get(job.key)
        if raw is None or raw["metadata"]["resourceVersion"] != job.resource_version:
            return  # a watch event with the newer version follows
        condition = {
            "type": ConditionType.UNREADABLE.value,
            "status": "True",
            "reason": Reason.UNREADABLE.value,
            "message": job.problem,
            "lastTransitionTime": _since(raw) or timestamp(clock.now()),
            "observedGeneration": job.generation,
        }
        await self._merge_conditions(job.key, job.resource_version, [*_others(raw), condition])

    async def report_readable(self, job: Job) -> None:
        """Remove the condition Unreadable of a job that can be read again. Raises KubeError: conflict if it changed."""
        raw = await self._get(job.key)
        if raw is not None and raw["metadata"]["resourceVersion"] == job.resource_version:
            await self._merge_conditions(job.key, job.resource_version, _others(raw))

    async def _merge_conditions(self, key: JobKey, resource_version: str, conditions: list[Object]) -> None:
        body = {"metadata": {"uid": key.uid, "resourceVersion": resource_version}, "status": {"conditions": conditions}}
        await self._kube.merge(f"{_path(key)}/status", body)

    def is_own_write(self, uid: str, resource_version: str) -> bool:
        """Return whether this process wrote this version last, so its watch event is no news. Forgets the version."""
        if self._written.get(uid) != resource_version:
            return False
        del self._written[uid]
        return True

    async def delete(self, job: Job) -> None:
        """Delete a job with all its pods, unless it has changed since it was read."""
        await self._kube.delete(_path(job.key), uid=job.key.uid, resource_version=job.resource_version, foreground=True)


def _others(raw: Object) -> list[Object]:
    return [each for each in conditions_of(raw) if each.get("type") != ConditionType.UNREADABLE]


def _since(raw: Object) -> str | None:
    """Return since when the condition Unreadable is True; None if it is not."""
    found = (each for each in conditions_of(raw) if each.get("type") == ConditionType.UNREADABLE)
    return next((each.get("lastTransitionTime") for each in found if each.get("status") == "True"), None)


def _path(key: JobKey) -> str:
    return f"{_BASE}/namespaces/{key.namespace}/{words.PLURAL}/{key.name}"
