"""When the turns of waiting jobs should begin: by the etas of running jobs and the expected lengths of others."""

import heapq
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from gpu_relay.api.words import Phase, Reason
from gpu_relay.domain.objects.demand import Demand
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.quantities import parse_time, timestamp
from gpu_relay.domain.queue.candidate import Candidate, filter_reason
from gpu_relay.domain.queue.placement import Placement, not_before
from gpu_relay.domain.queue.run_lengths import Lengths

_TOLERANCE = timedelta(seconds=30)
_UNFORESEEABLE = frozenset({Reason.NO_GPU_FITS, Reason.RESIDENT_BUSY, Reason.OUTSIDE_TRAINING_WINDOW})


def estimated_starts(
    placements: Sequence[Placement],
    candidates: Sequence[Candidate],
    owners: Mapping[str, Job],
    lengths: Lengths,
    now: datetime,
    policy: Policy,
) -> dict[str, str]:
    """Return the expected start of each waiting job's turn as a timestamp, by UID, if it can be estimated.

    `owners` are jobs by Lease holder; `lengths` has the expected lengths of training runs that are known.
    """
    free = {each.gpu: at for each in candidates if (at := _free_at(each, owners, lengths, now)) is not None}
    heaps: dict[Demand, list[tuple[datetime, str]]] = {}
    found: dict[str, str] = {}
    for placement in placements:
        job, chosen = placement.job, placement.gpu.gpu if placement.gpu else None
        start = now
        if chosen is None and placement.reason not in _UNFORESEEABLE:
            if job.demand not in heaps:
                suitable = (each.gpu for each in candidates if filter_reason(job.demand, each, policy) is None)
                heaps[job.demand] = sorted((free[gpu], gpu) for gpu in suitable if gpu in free)
            chosen = _first_free(heaps[job.demand], free)
            start = max(not_before(job, policy) or now, free[chosen]) if chosen is not None else now
        if chosen is None:
            continue
        free.pop(chosen, None)
        length = lengths.of(job)
        if length is not None:
            free[chosen] = start + length
        found[job.key.uid] = _steady(job, start, now)
    return found


def _first_free(heap: list[tuple[datetime, str]], free: Mapping[str, datetime]) -> str | None:
    """Return the GPU of a heap that is free first, and correct entries that earlier jobs have outdated.

    A GPU is never free before the time of its entry, so a long queue need not scan all GPUs for each job.
    """
    while heap:
        at, gpu = heap[0]
        if gpu not in free:
            heapq.heappop(heap)
        elif at != free[gpu]:
            heapq.heapreplace(heap, (free[gpu], gpu))
        else:
            return gpu
    return None


def _free_at(candidate: Candidate, owners: Mapping[str, Job], lengths: Lengths, now: datetime) -> datetime | None:
    """Return when the current turn of a GPU should end; None if unknown."""
    lease = candidate.lease
    if lease is not None and lease.owner is not None and lease.owner.is_workload:
        return None
    owner = owners.get(lease.holder) if lease else None
    if owner is None or owner.status.phase == Phase.RELEASING:
        return now
    progress, turn = owner.status.progress, owner.status.turn
    if owner.status.phase == Phase.TRAINING and progress is not None and progress.eta is not None:
        return max(now, parse_time(progress.eta))
    length = lengths.of(owner)
    if length is None or turn is None:
        return None
    return max(now, parse_time(turn.since) + length)


def _steady(job: Job, start: datetime, now: datetime) -> str:
    """Keep an estimate that moved by less than a quarter of the wait, or half a minute."""
    published = job.status.estimated_start_time
    if published is not None and abs(parse_time(published) - start) < max(_TOLERANCE, (start - now) / 4):
        return published
    return timestamp(start)
