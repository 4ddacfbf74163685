"""Who is next: one comparator with numbered criteria, and the assignment of waiting jobs to free GPUs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gpu_relay.api.words import COST_FREE_REASONS, TERMINAL_PHASES, Phase, Reason
from gpu_relay.domain.model import Job, Policy, Resident
from gpu_relay.domain.quantities import parse_time


def queue_key(job: Job) -> tuple[int, str, str]:
    """Order of the queue: (1) higher priority, (2) older, (3) smaller UID, so that no two jobs are ever equal."""
    return (-job.spec.priority, job.created, job.key.uid)


@dataclass(frozen=True)
class FreeGpu:
    """A GPU whose Lease the resident holds, with nothing owed to it; `resident` is None for the unmanaged one."""

    gpu: str
    resident: Resident | None
    node_labels: Mapping[str, str]


@dataclass(frozen=True)
class Placement:
    """What the dispatcher decided for one waiting job."""

    job: Job
    position: int
    gpu: FreeGpu | None
    reason: Reason
    message: str


def waiting_jobs(jobs: Iterable[Job], involved: frozenset[str]) -> list[Job]:
    """Jobs that want a GPU and have no part in a turn, in order. `involved` are the holders that a turn concerns."""
    waiting = (job for job in jobs if job.key.holder not in involved and wants_gpu(job))
    return sorted(waiting, key=queue_key)


def wants_gpu(job: Job) -> bool:
    """True for a job that is neither over, nor suspended, nor about to be deleted, nor at the end of a turn."""
    return not (job.deleting or job.spec.suspend or job.status.phase in TERMINAL_PHASES | {Phase.RELEASING})


def not_before(job: Job, policy: Policy) -> datetime | None:
    """Earliest time of the next attempt: exponential in the failures that count, None when nothing delays it."""
    if not job.status.attempts:
        return None
    last = job.status.attempts[-1]
    if last.reason == Reason.SUSPENDED:
        return None
    failures = sum(attempt.reason not in COST_FREE_REASONS for attempt in job.status.attempts)
    delay = min(policy.backoff_cap, policy.backoff_base * 2 ** max(0, failures - 1))
    return parse_time(last.completion_time) + timedelta(seconds=delay)


def place(
    waiting: Sequence[Job], free: Sequence[FreeGpu], known: Sequence[FreeGpu], now: datetime, policy: Policy
) -> list[Placement]:
    """Give each waiting job, in order, the first free GPU that suits it. `known` are all GPUs, free or not."""
    left = list(free)
    placements = []
    for position, job in enumerate(waiting, start=1):
        ready_at = not_before(job, policy)
        if ready_at is not None and ready_at > now:
            message = f"the next attempt starts in {(ready_at - now).total_seconds():.0f} s"
            placements.append(Placement(job, position, None, Reason.WAITING_FOR_BACKOFF, message))
            continue
        gpu = next((candidate for candidate in left if unsuitable(job, candidate, policy) is None), None)
        if gpu is not None:
            left.remove(gpu)
            placements.append(Placement(job, position, gpu, Reason.GPU_LEASED, "its turn begins"))
        else:
            placements.append(_waits(job, position, known, policy))
    return placements


def _waits(job: Job, position: int, known: Sequence[FreeGpu], policy: Policy) -> Placement:
    obstacles = [unsuitable(job, gpu, policy) for gpu in known]
    if obstacles and all(obstacles):
        return Placement(
            job, position, None, Reason.NO_GPU_FITS, f"no GPU suits this job: {'; '.join(map(str, obstacles))}"
        )
    return Placement(job, position, None, Reason.WAITING_IN_QUEUE, f"number {position} in the queue")


def unsuitable(job: Job, gpu: FreeGpu, policy: Policy) -> str | None:
    """Say why a job can never run on a GPU; None where it can."""
    for label, value in job.spec.pod_template.node_selector.items():
        if gpu.resident is not None and gpu.node_labels.get(label) != value:
            return f"node {gpu.resident.node} lacks the label {label}={value}"
    if gpu.resident is None:
        return None
    for label, value in job.spec.gpu.resident_selector.match_labels.items():
        if gpu.resident.labels.get(label) != value:
            return f"resident {gpu.resident} lacks the label {label}={value}"
    report = gpu.resident.report
    if report is None:
        return None
    most = report.total_mib - report.reserved_mib - policy.margin_mib
    if job.need_mib > most:
        where = f"{report.name} on {gpu.resident.node}"
        return f"{where} has at most {most:,} MiB for a job, this one needs {job.need_mib:,} MiB"
    return None
