"""YoloTrainingJobs: live reads, and the one writer of status."""

from gpu_relay.api import words
from gpu_relay.api.v1alpha1 import YoloTrainingJobStatus
from gpu_relay.domain.model import Job, JobKey
from gpu_relay.domain.reading import job_of
from gpu_relay.effects.kube import Kube, KubeError

_BASE = f"/apis/{words.API_VERSION}"


class JobStore:
    """Jobs in the cluster."""

    def __init__(self, kube: Kube, namespace: str | None) -> None:
        self._kube = kube
        self._written: dict[str, str] = {}
        self.list_path = f"{_BASE}/namespaces/{namespace}/{words.PLURAL}" if namespace else f"{_BASE}/{words.PLURAL}"

    async def get(self, key: JobKey) -> Job | None:
        """Read a job, live; None when it is gone, or another of the same name has taken its place."""
        try:
            job = job_of(await self._kube.get(_path(key)))
        except KubeError as error:
            if error.not_found:
                return None
            raise
        return job if job is not None and job.key == key else None

    async def write_status(self, job: Job, status: YoloTrainingJobStatus) -> None:
        """Write the whole status if it differs from what was read; KubeError (conflict) if the job has changed."""
        if status == job.status:
            return
        body = {
            "apiVersion": words.API_VERSION,
            "kind": words.KIND,
            "metadata": {
                "name": job.key.name,
                "namespace": job.key.namespace,
                "uid": job.key.uid,
                "resourceVersion": job.resource_version,
            },
            "status": status.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        }
        written = await self._kube.apply(f"{_path(job.key)}/status", body)
        self._written[job.key.uid] = written["metadata"]["resourceVersion"]

    def is_own_write(self, uid: str, resource_version: str) -> bool:
        """True for the version that this process wrote last: to be told of it is no news. Each is asked for once."""
        if self._written.get(uid) != resource_version:
            return False
        del self._written[uid]
        return True

    async def delete(self, job: Job) -> None:
        """Delete a job with all its pods, unless it has changed since it was read."""
        await self._kube.delete(_path(job.key), uid=job.key.uid, resource_version=job.resource_version, foreground=True)


def _path(key: JobKey) -> str:
    return f"{_BASE}/namespaces/{key.namespace}/{words.PLURAL}/{key.name}"
