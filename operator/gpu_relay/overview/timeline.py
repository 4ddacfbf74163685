"""The history of each GPU: from jobs' attempts, Workloads' checks, GPUs' Leases and Events; and what is unknown."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from gpu_relay.api.v1alpha1 import Attempt
from gpu_relay.api.words import Reason
from gpu_relay.domain.objects.event import JobEvent
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.listed_workload import ListedWorkload
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.objects.represented import Represented
from gpu_relay.domain.quantities import parse_time
from gpu_relay.overview.snapshot import ClusterSnapshot
from gpu_relay.overview.workloads import turns_of

_EVENTS_FADE = (
    "Events live for about an hour: of older turns, those of deleted jobs are not known, nor exactly when a turn began "
    "and when the resident was back."
)


@dataclass(frozen=True)
class PastTurn:
    """One turn. None and empty stand for what is unknown."""

    job: JobKey
    fence: int
    gpu: str = ""
    begin: datetime | None = None
    begin_is_exact: bool = False
    """False where only the training pod's start is known, which comes a little after the turn's."""
    end: datetime | None = None
    ended_by: datetime | None = None
    """The latest that it can have ended: when the GPU's next turn began. None where that is not known either."""
    over: bool = False
    reason: str = ""
    """How its attempt ended."""
    returned: datetime | None = None
    """When the Lease was given back to the resident, or to the next job."""
    back: datetime | None = None
    """When the resident was loaded again after it."""
    passed_on: bool = False
    """True where the next job got the GPU directly, so that the resident was loaded after that job."""
    represents: Represented | None = field(default=None, metadata={"omit_default": True})
    """The object that a Workload represents; None for a job, and where that is unknown."""


@dataclass(frozen=True)
class GpuTimeline:
    """One GPU's turns, oldest first."""

    gpu: str
    """Empty for turns on a GPU that is not known."""
    node: str
    turns: tuple[PastTurn, ...]


@dataclass(frozen=True)
class Timeline:
    """All GPUs' turns, from the first known one, or from the requested time."""

    begin: datetime
    now: datetime
    gpus: tuple[GpuTimeline, ...]
    unknown: tuple[str, ...] = field(default=())


def timeline_of(snapshot: ClusterSnapshot, since: datetime | None = None, only: JobKey | None = None) -> Timeline:
    """Return the history of each GPU.

    `since` leaves out turns that ended before; `only` leaves out those of other jobs and Workloads.
    """
    turns: dict[tuple[str, int], PastTurn] = {}
    for event in snapshot.events or ():
        _take_event(turns, event)
    for job in snapshot.jobs:
        _take_job(turns, job)
    for listed in snapshot.workloads:
        _take_workload(turns, listed)
    leases = (snapshot.leases or {}).values()
    fences = Counter(lease.fence for lease in leases)
    for lease in leases:
        _take_lease(turns, lease, alone=fences[lease.fence] == 1)
    _end_finished_turns(turns, snapshot)
    wanted = (each for each in turns.values() if only is None or each.job == only)
    ended = (_completed(each, snapshot) for each in wanted)
    shown = [each for each in ended if since is None or (each.end or each.ended_by or snapshot.now) >= since]
    begins = [each.begin for each in shown if each.begin is not None]
    begin = max(since, min(begins, default=since)) if since else min(begins, default=snapshot.now)
    unknown = (*snapshot.unknown, *([] if snapshot.events is None else [_EVENTS_FADE]))
    if any(not each.gpu for each in shown):
        unknown += ("The GPU of some turns is no longer on record.",)
    lines = _by_gpu(shown, snapshot)
    return Timeline(begin, snapshot.now, tuple(line for line in lines if line.turns or only is None), unknown)


def _completed(turn: PastTurn, snapshot: ClusterSnapshot) -> PastTurn:
    return replace(turn, end=turn.end or turn.returned, represents=snapshot.represented(turn.job))


def _by_gpu(turns: Iterable[PastTurn], snapshot: ClusterSnapshot) -> list[GpuTimeline]:
    nodes = {event.gpu: event.node for event in snapshot.events or () if event.gpu}
    nodes |= {key: lease.node for key, lease in (snapshot.leases or {}).items()}
    for job in snapshot.jobs:
        if job.status.gpu and job.status.gpu.uuid:
            nodes.setdefault(job.status.gpu.uuid.lower(), job.status.gpu.node or "")
    ordered = sorted(turns, key=lambda each: (each.begin or each.end or snapshot.now, each.fence))
    keys = sorted({each.gpu for each in ordered} | set(snapshot.leases or {}))
    return [GpuTimeline(key, nodes.get(key, ""), tuple(t for t in ordered if t.gpu == key)) for key in keys]


def _take_event(turns: dict[tuple[str, int], PastTurn], event: JobEvent) -> None:
    """Add what an Event of a turn records; operators before 0.2 wrote the GPU into the message only."""
    key = _key(event.key, event.turn, event.gpu)
    begins = event.reason == Reason.GPU_LEASED
    turn = turns.get(key)
    if turn is None:
        if not event.gpu and not begins:
            return
        turn = PastTurn(event.key, event.turn, event.gpu)
    if begins:
        turn = replace(turn, begin=event.at, begin_is_exact=True)
    elif event.reason == Reason.TRAINING_ENDED:
        turn = replace(turn, end=event.at, over=True, reason=event.outcome)
    elif event.reason == Reason.GPU_RETURNED:
        turn = replace(turn, over=True, returned=event.at, reason=turn.reason or event.outcome)
    elif event.next_job or event.reason == Reason.GPU_PASSED_ON:
        turn = replace(turn, end=turn.end or event.at, over=True, returned=event.at, passed_on=True)
    elif event.reason == Reason.RESIDENT_LOADED:
        turn = replace(turn, over=True, back=event.at)
    turns[key] = turn


def _end_finished_turns(turns: dict[tuple[str, int], PastTurn], snapshot: ClusterSnapshot) -> None:
    """End the turns that no longer own their GPU.

    Those after which another one began on their GPU, with a higher fence; those of which neither a Lease nor their
    job's status has a record any more, as of deleted jobs. The Lease counts most.
    """
    leases = snapshot.leases or {}
    by_lease = {_key(lease.owner, lease.fence, lease.gpu) for lease in leases.values() if lease.owner is not None}
    by_status = {(job.key.uid, job.status.turn.fence) for job in snapshot.jobs if job.status.turn is not None}
    for listed in snapshot.workloads:
        by_status |= {_key(listed.key, own.fence, own.gpu) for own in turns_of(listed, snapshot.leases)}
    visible = {job.key.uid for job in snapshot.jobs} | {each.key.uid for each in snapshot.workloads}
    later: dict[str, datetime | None] = {}
    """By GPU: when the earliest of the turns with a higher fence began, as far as that is known."""
    for key, turn in sorted(turns.items(), key=lambda item: -item[1].fence):
        is_known = snapshot.everywhere or turn.job.uid in visible or turn.gpu in leases
        if key not in by_lease and (turn.gpu in later or (is_known and key not in by_status)):
            turns[key] = replace(turn, over=True, ended_by=later.get(turn.gpu))
        if turn.gpu:
            begins = [begin for begin in (turn.begin, later.get(turn.gpu)) if begin is not None]
            later[turn.gpu] = min(begins, default=None)


def _take_job(turns: dict[tuple[str, int], PastTurn], job: Job) -> None:
    """Add what a job's own status records: its attempts, the last one with its GPU, and the present turn."""
    uuid = (job.status.gpu.uuid or "").lower() if job.status.gpu else ""
    last = job.status.attempts[-1].fence if job.status.attempts else None
    for attempt in job.status.attempts:
        key = (job.key.uid, attempt.fence)
        turn = turns.get(key, PastTurn(job.key, attempt.fence))
        if turn.begin is None and attempt.start_time is not None:
            turn = replace(turn, begin=parse_time(attempt.start_time))
        gpu = turn.gpu or (uuid if attempt.fence == last and job.status.turn is None else "")
        turns[key] = replace(turn, gpu=gpu, end=_end(turn, attempt), reason=attempt.reason, over=True)
    if job.status.turn is not None:
        key = (job.key.uid, job.status.turn.fence)
        turn = turns.get(key, PastTurn(job.key, job.status.turn.fence))
        since = parse_time(job.status.turn.since)
        turns[key] = replace(
            turn, gpu=turn.gpu or uuid, begin=turn.begin if turn.begin_is_exact else since, begin_is_exact=True
        )


def _key(owner: JobKey, fence: int, gpu: str) -> tuple[str, int]:
    """Return the key of a turn: a Workload may have turns with equal fences on several GPUs."""
    return f"{owner.uid}/{gpu}" if owner.is_workload else owner.uid, fence


def _take_workload(turns: dict[tuple[str, int], PastTurn], listed: ListedWorkload) -> None:
    """Add what the check of a Workload records of its last turns, and how the Workload finished."""
    for gpu, fence in listed.pinned:
        key = _key(listed.key, fence, gpu)
        turn = turns.get(key, PastTurn(listed.key, fence, gpu))
        if turn.begin is None and listed.ready_since is not None:
            turn = replace(turn, begin=parse_time(listed.ready_since))
        if listed.finished_at is not None:
            ended = turn.end or parse_time(listed.finished_at)
            turn = replace(turn, end=ended, reason=listed.condition("Finished").reason)
        turns[key] = turn


def _end(turn: PastTurn, attempt: Attempt) -> datetime:
    """Return when a turn's attempt ended: by the Event, else by the status, which has whole seconds only."""
    recorded = parse_time(attempt.completion_time)
    return turn.end or (max(recorded, turn.begin) if turn.begin else recorded)


def _take_lease(turns: dict[tuple[str, int], PastTurn], lease: GpuLease, *, alone: bool) -> None:
    """Add the present owner, also of a job that may not be read; or the return of the last turn.

    `alone` is True where no other GPU has the same fence, so that the fence identifies the GPU.
    """
    acquired = parse_time(lease.acquired) if lease.acquired else None
    owner = lease.owner
    if owner is not None:
        key = _key(owner, lease.fence, lease.gpu)
        turns.setdefault(key, PastTurn(owner, lease.fence, lease.gpu, acquired, begin_is_exact=True))
        turns[key] = replace(turns[key], gpu=lease.gpu)
        return
    for key, turn in turns.items():
        if turn.fence == lease.fence and (turn.gpu == lease.gpu or (alone and not turn.gpu)):
            loaded = parse_time(lease.served_since) if lease.served_since else None
            back = turn.back or (None if lease.reload_pending else loaded)
            turns[key] = replace(turn, gpu=lease.gpu, returned=turn.returned or acquired, back=back, over=True)
