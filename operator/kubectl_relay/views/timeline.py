"""Who had a GPU when: from jobs' attempts, GPUs' Leases and Events, and what none of them tells."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from gpu_relay.api.v1alpha1 import Attempt
from gpu_relay.api.words import UNMANAGED_GPU, Reason
from gpu_relay.domain.handback import PASSED_ON
from gpu_relay.domain.model import GpuLease, Job, JobKey
from gpu_relay.domain.quantities import parse_time
from kubectl_relay.views.picture import Picture, Told

_LEASED_GPU = re.compile(r"owns (?:GPU (\S+) on node|a GPU without a resident)")
_EVENTS_FADE = (
    "Events live for about an hour: of older turns, those of deleted jobs are not known, nor exactly when a turn began "
    "and when the resident was back."
)


@dataclass(frozen=True)
class PastTurn:
    """One turn. None and empty stand for what is not known."""

    job: JobKey
    fence: int
    gpu: str = ""
    begin: datetime | None = None
    begin_is_exact: bool = False
    """False where only the training pod's start is known, which comes a little after the turn's."""
    end: datetime | None = None
    over: bool = False
    reason: str = ""
    """How its attempt ended."""
    returned: datetime | None = None
    """When the Lease went back to the resident, or on to the next job."""
    back: datetime | None = None
    """When the resident was loaded again after it."""
    passed_on: bool = False
    """True where the next job had the GPU at once, so that the resident was loaded after that one only."""


@dataclass(frozen=True)
class GpuTimeline:
    """One GPU's turns, oldest first."""

    gpu: str
    """Empty for turns on a GPU that is not known."""
    node: str
    turns: tuple[PastTurn, ...]


@dataclass(frozen=True)
class Timeline:
    """All GPUs' turns, from the first that is known, or asked for."""

    begin: datetime
    now: datetime
    gpus: tuple[GpuTimeline, ...]
    unknown: tuple[str, ...] = field(default=())


def timeline_of(picture: Picture, since: datetime | None = None) -> Timeline:
    """Put together who had which GPU; `since` leaves out what was over before."""
    turns: dict[tuple[str, int], PastTurn] = {}
    for told in picture.events or ():
        _take_event(turns, told)
    for job in picture.jobs:
        _take_job(turns, job)
    leases = (picture.leases or {}).values()
    fences = Counter(lease.fence for lease in leases)
    for lease in leases:
        _take_lease(turns, lease, alone=fences[lease.fence] == 1)
    ended = (replace(each, end=each.end or each.returned) for each in turns.values())
    shown = [each for each in ended if since is None or (each.end or picture.now) >= since]
    begins = [each.begin for each in shown if each.begin is not None]
    begin = max(since, min(begins, default=since)) if since else min(begins, default=picture.now)
    unknown = (*picture.unknown, *([] if picture.events is None else [_EVENTS_FADE]))
    if any(not each.gpu for each in shown):
        unknown += ("On which GPU some turns were is not on record any more.",)
    return Timeline(begin, picture.now, tuple(_by_gpu(shown, picture)), unknown)


def _by_gpu(turns: Iterable[PastTurn], picture: Picture) -> list[GpuTimeline]:
    nodes = {key: lease.node for key, lease in (picture.leases or {}).items()}
    for job in picture.jobs:
        if job.status.gpu and job.status.gpu.uuid:
            nodes.setdefault(job.status.gpu.uuid.lower(), job.status.gpu.node or "")
    ordered = sorted(turns, key=lambda each: (each.begin or each.end or picture.now, each.fence))
    keys = sorted({each.gpu for each in ordered} | set(picture.leases or {}))
    return [GpuTimeline(key, nodes.get(key, ""), tuple(t for t in ordered if t.gpu == key)) for key in keys]


def _take_event(turns: dict[tuple[str, int], PastTurn], told: Told) -> None:
    key = (told.uid, told.turn)
    if told.reason == Reason.GPU_LEASED:
        named = _LEASED_GPU.search(told.message)
        turn = PastTurn(JobKey(told.namespace, told.job, told.uid), told.turn)
        turns[key] = replace(turn, gpu=(named[1] or UNMANAGED_GPU) if named else "", begin=told.at, begin_is_exact=True)
        return
    turn_or_none = turns.get(key)
    if turn_or_none is None:
        return
    if told.reason == Reason.TRAINING_ENDED:
        turns[key] = replace(turn_or_none, end=told.at, over=True)
    elif told.reason == Reason.GPU_RETURNED:
        turns[key] = replace(turn_or_none, over=True, returned=told.at)
    elif told.message.endswith(PASSED_ON):
        end = turn_or_none.end or told.at
        turns[key] = replace(turn_or_none, end=end, over=True, returned=told.at, passed_on=True)
    elif told.reason == Reason.RESIDENT_LOADED:
        turns[key] = replace(turn_or_none, over=True, back=told.at)


def _take_job(turns: dict[tuple[str, int], PastTurn], job: Job) -> None:
    """Add what a job's own status keeps: attempts without their GPU, but for the last, and the present turn."""
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


def _end(turn: PastTurn, attempt: Attempt) -> datetime:
    """Return when a turn's attempt ended: by the Event, else by the status, which has whole seconds only."""
    told = parse_time(attempt.completion_time)
    return turn.end or (max(told, turn.begin) if turn.begin else told)


def _take_lease(turns: dict[tuple[str, int], PastTurn], lease: GpuLease, *, alone: bool) -> None:
    """Add the present owner, be its job visible or not; and the return of the last turn, where that is all there is.

    `alone` is True where no other GPU has the same fence, so that the fence tells the GPU.
    """
    acquired = parse_time(lease.acquired) if lease.acquired else None
    owner = lease.owner
    if owner is not None:
        key = (owner.uid, lease.fence)
        turns.setdefault(key, PastTurn(owner, lease.fence, lease.gpu, acquired, begin_is_exact=True))
        turns[key] = replace(turns[key], gpu=lease.gpu)
        return
    for key, turn in turns.items():
        if turn.fence == lease.fence and (turn.gpu == lease.gpu or (alone and not turn.gpu)):
            loaded = parse_time(lease.served_since) if lease.served_since else None
            back = turn.back or (None if lease.reload_owed else loaded)
            turns[key] = replace(turn, gpu=lease.gpu, returned=turn.returned or acquired, back=back, over=True)
