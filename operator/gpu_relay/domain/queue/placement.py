"""Which job is next: one comparator with numbered criteria, and the assignment of waiting jobs to free GPUs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from gpu_relay.api.words import COST_FREE_REASONS, TERMINAL_PHASES, YIELDED_REASONS, Phase, Reason
from gpu_relay.domain.job.attempt_history import delay_after, fruitless_in_a_row
from gpu_relay.domain.job.preparation import is_due
from gpu_relay.domain.job.validation import objection
from gpu_relay.domain.objects.checked_workload import CheckedWorkload
from gpu_relay.domain.objects.demand import Demand
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.quantities import parse_time, timestamp
from gpu_relay.domain.queue.candidate import SELF_HEALING, Candidate, blocked_reason, filter_reason
from gpu_relay.domain.queue.claim import Claim
from gpu_relay.domain.queue.node_choice import choose_nodes, kept_for, too_few_nodes
from gpu_relay.domain.queue.order import NO_GPU_SUITS, wants_gpu

Held = Mapping[str, tuple[Reason, str]]
"""Why jobs that could get a GPU are held back, by UID: a check before the turn has failed."""
_NONE: Held = MappingProxyType({})


@dataclass(frozen=True)
class Placement:
    """What the scheduler decided for one waiting job or Workload."""

    claim: Claim
    position: int
    gpus: tuple[Candidate, ...]
    """What it gets now; a YoloTrainingJob gets one GPU."""
    reason: Reason
    message: str

    @property
    def gpu(self) -> Candidate | None:
        """The GPU that it gets now, or the first one; None if it waits."""
        return self.gpus[0] if self.gpus else None

    @property
    def job(self) -> Job:
        """The waiting job; only for placements of jobs."""
        assert isinstance(self.claim, Job)
        return self.claim


def is_ready(job: Job, policy: Policy) -> bool:
    """True for a job that waits for a GPU: it is active, valid and prepared."""
    return wants_gpu(job) and not is_due(job, policy) and objection(job) is None


def waits_since(job: Claim) -> datetime:
    """Return since when a job or Workload has been waiting for a GPU.

    A Workload waits from its quota on; a job from its creation, preparation, or last attempt, whichever ended last. A
    preparation may wait for a person for days.
    """
    if isinstance(job, CheckedWorkload):
        return parse_time(job.queued_since)
    times = [job.created, *(each.completion_time for each in job.status.attempts[-1:])]
    if job.status.preparation is not None and job.status.preparation.completion_time is not None:
        times.append(job.status.preparation.completion_time)
    return max(map(parse_time, times))


def longest_wait(jobs: Iterable[Claim], now: datetime) -> float:
    """Return the seconds that one of these jobs has been waiting, the most of all; 0 without jobs."""
    return max(((now - waits_since(job)).total_seconds() for job in jobs), default=0.0)


def is_at_rest(job: Job) -> bool:
    """True for a finished or suspended job with nothing left to do."""
    return job.status.phase in TERMINAL_PHASES or (job.spec.suspend and job.status.phase == Phase.SUSPENDED)


def is_left_over(job: Job) -> bool:
    """True for a job whose status does not follow its spec yet, unless a turn concerns it."""
    if job.deleting:
        return False
    if is_at_rest(job):
        observed = {job.status.observed_generation, *(each.observed_generation for each in job.status.conditions)}
        return observed != {job.generation}
    return job.status.phase == Phase.RELEASING or (job.spec.suspend and job.status.completion_time is None)


def not_before(job: Claim, policy: Policy) -> datetime | None:
    """Return the earliest time of the next attempt; None if nothing delays it.

    The pause grows with the failures that count, and with the fruitless attempts in a row, which do not count.
    """
    if isinstance(job, CheckedWorkload) or not job.status.attempts:
        return None
    last = job.status.attempts[-1]
    if last.reason in YIELDED_REASONS:
        return None
    failures = sum(attempt.reason not in COST_FREE_REASONS for attempt in job.status.attempts)
    pauses = max(failures, fruitless_in_a_row(job.status.attempts))
    return parse_time(last.completion_time) + timedelta(seconds=delay_after(pauses, policy))


def assign(
    waiting: Sequence[Claim], candidates: Sequence[Candidate], now: datetime, policy: Policy, held: Held = _NONE
) -> list[tuple[Claim, tuple[Candidate, ...]]]:
    """Assign to each waiting job, in order, the first GPU that suits it and is free now; to a Workload all of its GPUs.

    The GPU of a job's last attempt comes last if that attempt was fruitless. A Workload with several GPUs keeps those
    that are free for a time, until the others are.
    """
    left = [each for each in candidates if each.is_between_turns()]
    cache = EligibilityCache(candidates, now, policy)
    given = []
    for job in waiting:
        if not left:
            break
        ready_at = not_before(job, policy)
        if job.key.uid in held or (ready_at is not None and ready_at > now):
            continue
        eligible = cache.of(job)
        free = [each for each in left if each.gpu in eligible.open]
        gpus = choose_nodes(job.demand, free) if isinstance(job, CheckedWorkload) else _one_gpu(job, free)
        if gpus:
            given.append((job, gpus))
        elif isinstance(job, CheckedWorkload):
            gpus = kept_for(job, free, eligible.suitable, now)
        left = [each for each in left if each not in gpus]
    return given


def _one_gpu(job: Job, free: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the GPU of a job; none if none is free."""
    avoided = _avoided(job)
    gpu = min(free, key=lambda each: each.gpu == avoided, default=None) if avoided else next(iter(free), None)
    return (gpu,) if gpu is not None else ()


def _avoided(job: Job) -> str | None:
    """Return the GPU of a job's last attempt if that was fruitless; None otherwise."""
    attempts = job.status.attempts
    return attempts[-1].gpu if fruitless_in_a_row(attempts) else None


def explain_placement(
    waiting: Sequence[Claim], candidates: Sequence[Candidate], now: datetime, policy: Policy, held: Held = _NONE
) -> list[Placement]:
    """Return for each waiting job, in order, which GPU it gets, or why it waits."""
    given = {job.key.uid: gpus for job, gpus in assign(waiting, candidates, now, policy, held)}
    cache = EligibilityCache(candidates, now, policy)
    return [
        _placement(job, number, given.get(job.key.uid, ()), cache, held.get(job.key.uid))
        for number, job in enumerate(waiting, start=1)
    ]


def _placement(
    job: Claim,
    position: int,
    gpus: tuple[Candidate, ...],
    cache: "EligibilityCache",
    held: tuple[Reason, str] | None,
) -> Placement:
    if held is not None:
        return Placement(job, position, (), *held)
    ready_at = not_before(job, cache.policy)
    if ready_at is not None and ready_at > cache.now:
        message = f"the next attempt starts at {timestamp(ready_at)}"
        return Placement(job, position, (), Reason.WAITING_FOR_BACKOFF, message)
    if gpus:
        return Placement(job, position, gpus, Reason.GPU_LEASED, "its turn begins")
    reason, message = cache.of(job).waits or (Reason.WAITING_IN_QUEUE, place_message(position))
    return Placement(job, position, (), reason, message)


def waits_for_time(waiting: Sequence[Claim], candidates: Sequence[Candidate], now: datetime, policy: Policy) -> bool:
    """True if some job waits for what only time ends: its pause, or the state of a free GPU's resident."""
    pauses = (not_before(job, policy) for job in waiting)
    if any(end is not None and end > now for end in pauses):
        return True
    cache = EligibilityCache([each for each in candidates if each.is_between_turns()], now, policy)
    return bool(cache.candidates) and any(cache.of(job).is_passing for job in waiting)


def place_message(position: int) -> str:
    """Return the message of a job that only waits for other jobs."""
    return f"number {position} in the queue"


@dataclass(frozen=True)
class _Eligibility:
    """What applies to all jobs of one demand."""

    open: frozenset[str]
    """The GPUs that they can get now."""
    waits: tuple[Reason, str] | None
    """Why they wait; None if only for other jobs."""
    suitable: tuple[Candidate, ...] = ()
    """The GPUs on which they can run, free or not."""

    @property
    def is_passing(self) -> bool:
        """True if what they wait for ends by itself."""
        return self.waits is not None and self.waits[0] in SELF_HEALING


class EligibilityCache:
    """Evaluates each demand once."""

    def __init__(self, candidates: Sequence[Candidate], now: datetime, policy: Policy) -> None:
        self.candidates = candidates
        self.now = now
        self.policy = policy
        self._known: dict[Demand, _Eligibility] = {}

    def of(self, job: Claim) -> _Eligibility:
        """Return what applies to a job."""
        known = self._known.get(job.demand)
        if known is None:
            known = self._known[job.demand] = self._evaluate(job.demand)
        return known

    def _evaluate(self, demand: Demand) -> _Eligibility:
        misfits = {each.gpu: filter_reason(demand, each, self.policy) for each in self.candidates}
        if misfits and all(misfits.values()):
            reasons = dict.fromkeys(map(str, misfits.values()))
            return _Eligibility(frozenset(), (Reason.NO_GPU_FITS, f"{NO_GPU_SUITS}: {'; '.join(reasons)}"))
        suitable = tuple(each for each in self.candidates if misfits[each.gpu] is None)
        if demand.needs_resident and suitable and not choose_nodes(demand, suitable):
            return _Eligibility(frozenset(), (Reason.NO_GPU_FITS, too_few_nodes(demand, suitable)))
        idle = [each for each in suitable if each.is_between_turns()]
        blocked = {each.gpu: blocked_reason(demand, each, self.now, self.policy) for each in idle}
        free = frozenset(gpu for gpu, reason in blocked.items() if reason is None)
        mute = [each for each in suitable if each.awaits_silent_resident]
        silent = (blocked_reason(demand, each, self.now, self.policy) for each in mute)
        waits = (reason for reason in (*blocked.values(), *silent) if reason is not None)
        return _Eligibility(free, next(waits, None), suitable)


def next_for(
    waiting: Iterable[Claim], candidate: Candidate, now: datetime, policy: Policy, held: Held = _NONE
) -> Claim | None:
    """Return the job that would get this GPU next if it were free now; None if no job waits for it.

    One GPU that is free does not begin a turn with several.
    """
    refused: set[Demand] = set()
    for job in waiting:
        if job.demand in refused or job.key.uid in held or job.demand.total_gpus > 1:
            continue
        demand = job.demand
        if filter_reason(demand, candidate, policy) or blocked_reason(demand, candidate, now, policy):
            refused.add(demand)
            continue
        ready_at = not_before(job, policy)
        if ready_at is None or ready_at <= now:
            return job
    return None
