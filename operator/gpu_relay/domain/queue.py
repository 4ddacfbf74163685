"""Who is next: one comparator with numbered criteria, and the assignment of waiting jobs to free GPUs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gpu_relay.api import words
from gpu_relay.api.words import COST_FREE_REASONS, TERMINAL_PHASES, YIELDED_REASONS, Phase, Reason
from gpu_relay.domain.backoff import delay_after
from gpu_relay.domain.fairness import clocks_of, is_idle, serves_until
from gpu_relay.domain.model import HOLDER_RESIDENT, Demand, GpuLease, Job, Policy, Resident
from gpu_relay.domain.preparation import is_due
from gpu_relay.domain.quantities import duration, parse_time, timestamp
from gpu_relay.domain.validation import objection


def queue_key(job: Job) -> tuple[int, str, str]:
    """Order of the queue: (1) higher priority, (2) older, (3) smaller UID, so that no two jobs are ever equal."""
    return (-job.spec.priority, job.created, job.key.uid)


@dataclass(frozen=True)
class Candidate:
    """A GPU that the dispatcher knows; `resident` is None for the unmanaged one."""

    gpu: str
    resident: Resident | None
    node_labels: Mapping[str, str]
    lease: GpuLease | None = None
    """None where it has never had a turn."""
    open_though_owed: bool = False
    """True when the next turn need not wait for the reload that is owed: it goes first, or the reload keeps failing."""

    def is_between_turns(self) -> bool:
        """True when no job owns the GPU and no reload is to be waited for."""
        if self.lease is None:
            return True
        return self.lease.holder == HOLDER_RESIDENT and (not self.lease.reload_owed or self.open_though_owed)


@dataclass(frozen=True)
class Placement:
    """What the dispatcher decided for one waiting job."""

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
    """Earliest time of the next attempt: exponential in the failures that count, None when nothing delays it."""
    if not job.status.attempts:
        return None
    last = job.status.attempts[-1]
    if last.reason in YIELDED_REASONS:
        return None
    failures = sum(attempt.reason not in COST_FREE_REASONS for attempt in job.status.attempts)
    return parse_time(last.completion_time) + timedelta(seconds=delay_after(failures, policy))


def give(
    waiting: Sequence[Job], candidates: Sequence[Candidate], now: datetime, policy: Policy
) -> list[tuple[Job, Candidate]]:
    """Give each waiting job, in order, the first GPU that suits it and can be had now, while there are such."""
    left = [each for each in candidates if each.is_between_turns()]
    judged = _Judgements(candidates, now, policy)
    given = []
    for job in waiting:
        if not left:
            break
        ready_at = not_before(job, policy)
        if ready_at is not None and ready_at > now:
            continue
        gpu = next((each for each in left if each.gpu in judged.of(job).open), None)
        if gpu is not None:
            left.remove(gpu)
            given.append((job, gpu))
    return given


def place(waiting: Sequence[Job], candidates: Sequence[Candidate], now: datetime, policy: Policy) -> list[Placement]:
    """Say of each waiting job, in order, which GPU it is given, or why it waits."""
    given = {job.key.uid: gpu for job, gpu in give(waiting, candidates, now, policy)}
    judged = _Judgements(candidates, now, policy)
    return [_placement(job, number, given.get(job.key.uid), judged) for number, job in enumerate(waiting, start=1)]


def _placement(job: Job, position: int, gpu: Candidate | None, judged: "_Judgements") -> Placement:
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
    judged = _Judgements([each for each in candidates if each.is_between_turns()], now, policy)
    return bool(judged.candidates) and any(judged.of(job).is_passing for job in waiting)


def place_message(position: int) -> str:
    """Return what is said of a job that waits for others only."""
    return f"number {position} in the queue"


@dataclass(frozen=True)
class _Judgement:
    """What holds for all jobs that ask for the same."""

    open: frozenset[str]
    """The GPUs that may be had now."""
    waits: tuple[Reason, str] | None
    """Why they wait where they do, if it is not for other jobs only."""

    @property
    def is_passing(self) -> bool:
        """True where what they wait for ends by itself."""
        return self.waits is not None and self.waits[0] in {Reason.RESIDENT_SERVING, Reason.RESIDENT_BUSY}


class _Judgements:
    """Judges each demand once."""

    def __init__(self, candidates: Sequence[Candidate], now: datetime, policy: Policy) -> None:
        self.candidates = candidates
        self.now = now
        self.policy = policy
        self._known: dict[Demand, _Judgement] = {}

    def of(self, job: Job) -> _Judgement:
        """Return what holds for a job."""
        known = self._known.get(job.demand)
        if known is None:
            known = self._known[job.demand] = self._judge(job)
        return known

    def _judge(self, job: Job) -> _Judgement:
        objections = {each.gpu: unsuitable(job, each, self.policy) for each in self.candidates}
        if objections and all(objections.values()):
            said = dict.fromkeys(map(str, objections.values()))
            return _Judgement(frozenset(), (Reason.NO_GPU_FITS, f"no GPU suits this job: {'; '.join(said)}"))
        suitable = [each for each in self.candidates if objections[each.gpu] is None and each.is_between_turns()]
        obstacles = {each.gpu: obstacle(job, each, self.now, self.policy) for each in suitable}
        free = frozenset(gpu for gpu, said in obstacles.items() if said is None)
        return _Judgement(free, next((said for said in obstacles.values() if said is not None), None))


def successor(waiting: Iterable[Job], candidate: Candidate, now: datetime, policy: Policy) -> Job | None:
    """Return the job that would take this GPU next if it could be had now; None when nobody waits for it."""
    refused: set[Demand] = set()
    for job in waiting:
        if job.demand in refused:
            continue
        if unsuitable(job, candidate, policy) is not None or obstacle(job, candidate, now, policy) is not None:
            refused.add(job.demand)
            continue
        ready_at = not_before(job, policy)
        if ready_at is None or ready_at <= now:
            return job
    return None


def obstacle(job: Job, candidate: Candidate, now: datetime, policy: Policy) -> tuple[Reason, str] | None:
    """Say why a GPU between turns is not given to a job yet; None where it is."""
    resident = candidate.resident
    clocks = clocks_of(policy, resident)
    until = serves_until(candidate.lease, resident, clocks, now)
    if until is not None:
        message = f"resident {resident} was out for as long as it may be; it serves until {timestamp(until)}"
        return Reason.RESIDENT_SERVING, message
    if job.spec.gpu.start_when == "ResidentIdle" and resident is not None and resident.report is not None:
        idle_for = duration(job.spec.gpu.idle_for) if job.spec.gpu.idle_for else clocks.idle_after
        if not is_idle(resident.report, idle_for):
            message = f"starts when resident {resident} has had no request for {idle_for.total_seconds():g} s"
            return Reason.RESIDENT_BUSY, message
    return None


def lends_to(resident: Resident, namespace: str) -> bool:
    """True where jobs of a namespace may have a resident's GPU: its own, and those that its annotation lists."""
    allowed = resident.annotations.get(words.ANNOTATION_ALLOWED_NAMESPACES, "").split(",")
    return namespace == resident.namespace or any(name.strip() in {namespace, "*"} for name in allowed)


def unsuitable(job: Job, gpu: Candidate, policy: Policy) -> str | None:
    """Say why a job can never run on a GPU; None where it can."""
    resident = gpu.resident
    if resident is None:
        return None
    if not lends_to(resident, job.key.namespace):
        return (
            f"resident {resident} does not lend its GPU to namespace {job.key.namespace}: it lends it to those of its "
            f"annotation {words.ANNOTATION_ALLOWED_NAMESPACES}"
        )
    return _wrong_label(job, gpu, resident) or _too_small(job, resident, policy)


def _wrong_label(job: Job, gpu: Candidate, resident: Resident) -> str | None:
    for label, value in job.node_selector.items():
        if gpu.node_labels.get(label) != value:
            return f"node {resident.node} lacks the label {label}={value}"
    for label, value in job.spec.gpu.resident_selector.match_labels.items():
        if resident.labels.get(label) != value:
            return f"resident {resident} lacks the label {label}={value}"
    return None


def _too_small(job: Job, resident: Resident, policy: Policy) -> str | None:
    report = resident.report
    if report is None:
        return None
    most = report.total_mib - report.reserved_mib - policy.margin_mib
    if job.need_mib > most:
        where = f"{report.name} on {resident.node}"
        return f"{where} has at most {most:,} MiB for a job, this one needs {job.need_mib:,} MiB"
    return None
