"""The queue as the operator orders it, and which of its jobs a GPU could serve."""

from collections.abc import Iterable, Mapping

from gpu_relay.api.words import ConditionType, Phase, Reason
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.resident import Resident
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.candidate import Candidate, filter_reason
from gpu_relay.domain.queue.placement import queue_key, wants_gpu

_POLICY = Policy()
NodeLabels = Mapping[str, Mapping[str, str]]


def queued(jobs: Iterable[Job]) -> list[Job]:
    """Return the jobs that wait for a GPU, in order; jobs that Kueue has not admitted are not queued yet."""
    return sorted((job for job in jobs if _waits(job)), key=queue_key)


def preparing(jobs: Iterable[Job]) -> list[Job]:
    """Return the jobs whose data is fetched and checked before they are queued, in the queue's order."""
    return sorted((job for job in jobs if job.status.phase == Phase.PREPARING), key=queue_key)


def could_serve(job: Job, gpu: str, resident: Resident | None, node_labels: NodeLabels) -> bool:
    """Return False where something known keeps a job off a GPU; the labels of a node that was not read do not."""
    if fits_nowhere(job):
        return False
    if resident is None:
        return True
    labels = node_labels.get(resident.node, job.node_selector)
    return filter_reason(job.demand, Candidate(gpu, resident, labels), _POLICY) is None


def fits_nowhere(job: Job) -> bool:
    """Return True for a job that fits no GPU, as its conditions say."""
    return any(c.type == ConditionType.RECONCILING and c.reason == Reason.NO_GPU_FITS for c in job.status.conditions)


def _waits(job: Job) -> bool:
    return wants_gpu(job) and job.status.phase == Phase.QUEUED and job.status.queue_position is not None
