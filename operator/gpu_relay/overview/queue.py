"""The queue as the operator orders it, and which of its jobs and Workloads a GPU could serve."""

from collections.abc import Iterable, Mapping

from gpu_relay.api.words import ConditionType, Phase, Reason
from gpu_relay.domain.objects.checked_workload import CheckedWorkload
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.resident import Resident
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.candidate import Candidate, filter_reason
from gpu_relay.domain.queue.claim import Claim
from gpu_relay.domain.queue.order import NO_GPU_SUITS, queue_key, wants_gpu
from gpu_relay.overview.snapshot import ClusterSnapshot
from gpu_relay.overview.workloads import turn_of

_POLICY = Policy()
NodeLabels = Mapping[str, Mapping[str, str]]


def queued(jobs: Iterable[Job]) -> list[Job]:
    """Return the jobs that wait for a GPU, in order; jobs that Kueue has not admitted are not queued yet."""
    return sorted((job for job in jobs if _waits(job)), key=queue_key)


def waiting(snapshot: ClusterSnapshot) -> list[Claim]:
    """Return the jobs and Workloads that wait for a GPU, in order; those that Kueue has not admitted are not among."""
    workloads = (each for each in snapshot.workloads if each.workload.waits and not turn_of(each, snapshot.leases))
    return sorted([*queued(snapshot.jobs), *(each.workload for each in workloads)], key=queue_key)


def positions(snapshot: ClusterSnapshot) -> dict[str, int]:
    """Return the positions in the queue by UID: those of jobs as recorded, those of Workloads where all can be read."""
    found = {job.key.uid: job.status.queue_position or 0 for job in queued(snapshot.jobs)}
    if snapshot.everywhere and snapshot.all_workloads:
        counted = enumerate(waiting(snapshot), start=1)
        found |= {each.key.uid: number for number, each in counted if isinstance(each, CheckedWorkload)}
    return found


def preparing(jobs: Iterable[Job]) -> list[Job]:
    """Return the jobs whose data is fetched and checked before they are queued, in the queue's order."""
    return sorted((job for job in jobs if job.status.phase == Phase.PREPARING), key=queue_key)


def could_serve(claim: Claim, gpu: str, resident: Resident | None, node_labels: NodeLabels) -> bool:
    """Return False where something known keeps a job off a GPU; the labels of a node that was not read do not."""
    if fits_nowhere(claim):
        return False
    if resident is None:
        return True
    labels = node_labels.get(resident.node, dict(claim.demand.node_labels))
    return filter_reason(claim.demand, Candidate(gpu, resident, labels), _POLICY) is None


def fits_nowhere(claim: Claim) -> bool:
    """Return True for a job that fits no GPU, as its conditions say; for a Workload, as the message of its check."""
    if isinstance(claim, CheckedWorkload):
        return claim.entry is not None and claim.entry.message.startswith(NO_GPU_SUITS)
    return any(c.type == ConditionType.RECONCILING and c.reason == Reason.NO_GPU_FITS for c in claim.status.conditions)


def _waits(job: Job) -> bool:
    return wants_gpu(job) and job.status.phase == Phase.QUEUED and job.status.queue_position is not None
