"""Who is next: one comparator with numbered criteria, and the assignment of waiting jobs to free GPUs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from gpu_relay.api.words import COST_FREE_REASONS, TERMINAL_PHASES, YIELDED_REASONS, Phase, Reason
from gpu_relay.domain.job.attempt_history import delay_after, fruitless_in_a_row
from gpu_relay.domain.job.preparation import is_due
from gpu_relay.domain.job.validation import objection
from gpu_relay.domain.objects.job import Demand, Job
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.quantities import parse_time, timestamp
from gpu_relay.domain.queue.candidate import SELF_HEALING, Candidate, blocked_reason, filter_reason

Held = Mapping[str, tuple[Reason, str]]
"""Why jobs are held back that would have a GPU, by UID: a check before the turn has failed for now."""
_NONE: Held = MappingProxyType({})


def queue_key(job: Job) -> tuple[int, str, str]:
    """Order of the queue: (1) higher priority, (2) older, (3) smaller UID, so that no two jobs are ever equal."""
    return (-job.spec.priority, job.created, job.key.uid)


@dataclass(frozen=True)
class Placement:
    """What the scheduler decided for one waiting job."""

    job: Job
    position: int
    gpu: Candidate | None
    reason: Reason
    message: str


def is_ready(job: Job, policy: Policy) -> bool:
    """True for a job that may wait for a GPU: it wants one, could run, and is prepared."""
    return wants_gpu(job) and not is_due(job, policy) and objection(job) is None


def wants_gpu(job: Job) -> bool:
    """True for a job that is neither over, nor suspended, nor about to be deleted, nor at the end of a turn."""
    return not (job.deleting or job.spec.suspend or job.status.phase in TERMINAL_PHASES | {Phase.RELEASING})


def waits_since(job: Job) -> datetime:
    """Return since when a job has been waiting: its creation, or the end of its last attempt."""
    return parse_time(job.status.attempts[-1].completion_time if job.status.attempts else job.created)


def is_at_rest(job: Job) -> bool:
    """True for a job that is over, or suspended on request, with nothing left to do."""
    return job.status.phase in TERMINAL_PHASES or (job.spec.suspend and job.status.phase == Phase.SUSPENDED)


def is_left_over(job: Job) -> bool:
    """True for a job whose status lacks what follows from its spec by itself, unless a turn concerns it."""
    if job.deleting:
        return False
    if is_at_rest(job):
        told = {job.status.observed_generation, *(each.observed_generation for each in job.status.conditions)}
        return told != {job.generation}
    return job.status.phase == Phase.RELEASING or (job.spec.suspend and job.status.completion_time is None)


def not_before(job: Job, policy: Policy) -> datetime | None:
    """Earliest time of the next attempt, None when nothing delays it.

    The pause grows with the failures that count, and with the attempts in a row that came to nothing, which do not.
    """
    if not job.status.attempts:
        return None
    last = job.status.attempts[-1]
    if last.reason in YIELDED_REASONS:
        return None
    failures = sum(attempt.reason not in COST_FREE_REASONS for attempt in job.status.attempts)
    pauses = max(failures, fruitless_in_a_row(job.status.attempts))
    return parse_time(last.completion_time) + timedelta(seconds=delay_after(pauses, policy))


def assign(
    waiting: Sequence[Job], candidates: Sequence[Candidate], now: datetime, policy: Policy, held: Held = _NONE
) -> list[tuple[Job, Candidate]]:
    """Give each waiting job, in order, the first GPU that suits it and can be had now, while there are such.

    The GPU of a job's last attempt comes last where that attempt came to nothing.
    """
    left = [each for each in candidates if each.is_between_turns()]
    judged = EligibilityCache(candidates, now, policy)
    given = []
    for job in waiting:
        if not left:
            break
        ready_at = not_before(job, policy)
        if job.key.uid in held or (ready_at is not None and ready_at > now):
            continue
        open_ones, avoided = judged.of(job).open, _avoided(job)
        free = [each for each in left if each.gpu in open_ones]
        gpu = min(free, key=lambda each: each.gpu == avoided, default=None) if avoided else next(iter(free), None)
        if gpu is not None:
            left.remove(gpu)
            given.append((job, gpu))
    return given


def _avoided(job: Job) -> str | None:
    """Return the GPU on which a job's last attempt came to nothing; None where it did not."""
    attempts = job.status.attempts
    return attempts[-1].gpu if fruitless_in_a_row(attempts) else None


def explain_placement(
    waiting: Sequence[Job], candidates: Sequence[Candidate], now: datetime, policy: Policy, held: Held = _NONE
) -> list[Placement]:
    """Say of each waiting job, in order, which GPU it is given, or why it waits."""
    given = {job.key.uid: gpu for job, gpu in assign(waiting, candidates, now, policy, held)}
    judged = EligibilityCache(candidates, now, policy)
    return [
        _placement(job, number, given.get(job.key.uid), judged, held.get(job.key.uid))
        for number, job in enumerate(waiting, start=1)
    ]


def _placement(
    job: Job, position: int, gpu: Candidate | None, judged: "EligibilityCache", held: tuple[Reason, str] | None
) -> Placement:
    if held is not None:
        return Placement(job, position, None, *held)
    ready_at = not_before(job, judged.policy)
    if ready_at is not None and ready_at > judged.now:
        message = f"the next attempt starts at {timestamp(ready_at)}"
        return Placement(job, position, None, Reason.WAITING_FOR_BACKOFF, message)
    if gpu is not None:
        return Placement(job, position, gpu, Reason.GPU_LEASED, "its turn begins")
    reason, message = judged.of(job).waits or (Reason.WAITING_IN_QUEUE, place_message(position))
    return Placement(job, position, None, reason, message)


def waits_for_time(waiting: Sequence[Job], candidates: Sequence[Candidate], now: datetime, policy: Policy) -> bool:
    """True where some job waits for what ends by itself, with time: its pause, or what a free GPU's resident does."""
    pauses = (not_before(job, policy) for job in waiting if job.status.attempts)
    if any(end is not None and end > now for end in pauses):
        return True
    judged = EligibilityCache([each for each in candidates if each.is_between_turns()], now, policy)
    return bool(judged.candidates) and any(judged.of(job).is_passing for job in waiting)


def place_message(position: int) -> str:
    """Return what is said of a job that waits for others only."""
    return f"number {position} in the queue"


@dataclass(frozen=True)
class _Eligibility:
    """What holds for all jobs that ask for the same."""

    open: frozenset[str]
    """The GPUs that may be had now."""
    waits: tuple[Reason, str] | None
    """Why they wait where they do, if it is not for other jobs only."""

    @property
    def is_passing(self) -> bool:
        """True where what they wait for ends by itself."""
        return self.waits is not None and self.waits[0] in SELF_HEALING


class EligibilityCache:
    """Judges each demand once."""

    def __init__(self, candidates: Sequence[Candidate], now: datetime, policy: Policy) -> None:
        self.candidates = candidates
        self.now = now
        self.policy = policy
        self._known: dict[Demand, _Eligibility] = {}

    def of(self, job: Job) -> _Eligibility:
        """Return what holds for a job."""
        known = self._known.get(job.demand)
        if known is None:
            known = self._known[job.demand] = self._judge(job)
        return known

    def _judge(self, job: Job) -> _Eligibility:
        objections = {each.gpu: filter_reason(job, each, self.policy) for each in self.candidates}
        if objections and all(objections.values()):
            said = dict.fromkeys(map(str, objections.values()))
            return _Eligibility(frozenset(), (Reason.NO_GPU_FITS, f"no GPU suits this job: {'; '.join(said)}"))
        suitable = [each for each in self.candidates if objections[each.gpu] is None and each.is_between_turns()]
        obstacles = {each.gpu: blocked_reason(job, each, self.now, self.policy) for each in suitable}
        free = frozenset(gpu for gpu, said in obstacles.items() if said is None)
        return _Eligibility(free, next((said for said in obstacles.values() if said is not None), None))


def next_for(
    waiting: Iterable[Job], candidate: Candidate, now: datetime, policy: Policy, held: Held = _NONE
) -> Job | None:
    """Return the job that would take this GPU next if it could be had now; None when no job waits for it."""
    refused: set[Demand] = set()
    for job in waiting:
        if job.demand in refused or job.key.uid in held:
            continue
        if filter_reason(job, candidate, policy) is not None or blocked_reason(job, candidate, now, policy) is not None:
            refused.add(job.demand)
            continue
        ready_at = not_before(job, policy)
        if ready_at is None or ready_at <= now:
            return job
    return None
