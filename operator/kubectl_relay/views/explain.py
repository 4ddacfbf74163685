"""Why a job waits, or what happened to it, in sentences."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from gpu_relay.api.v1alpha1 import Condition
from gpu_relay.api.words import TERMINAL_PHASES, ConditionType, Phase, Reason
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.objects.represented import Represented, title
from gpu_relay.domain.quantities import mib, parse_time
from gpu_relay.domain.queue.claim import Claim
from gpu_relay.domain.queue.placement import waits_since
from gpu_relay.overview.gpus import Gpu, gpus_of
from gpu_relay.overview.jobs import expected_end, expected_start, explaining_condition
from gpu_relay.overview.queue import could_serve, fits_nowhere, waiting
from gpu_relay.overview.snapshot import ClusterSnapshot
from kubectl_relay.views.advice import advice
from kubectl_relay.views.job_history import HistoryEntry, history
from kubectl_relay.views.losses import results_at
from kubectl_relay.views.times import clock, span

_SHOWN_OTHERWISE = frozenset({Reason.WAITING_IN_QUEUE, Reason.TRAINING_RUNNING})
_MOST_AHEAD = 8


@dataclass(frozen=True)
class Explanation:
    """A job's situation, in whole sentences; `history` is oldest first."""

    job: JobKey
    phase: str
    reason: str
    headline: str
    why: tuple[str, ...]
    change: tuple[str, ...]
    history: tuple[HistoryEntry, ...]
    unknown: tuple[str, ...]
    represents: Represented | None = field(default=None, metadata={"omit_default": True})
    """The object that a Workload represents; None for a job."""


def explain(snapshot: ClusterSnapshot, job: Job) -> Explanation:
    """Explain a job by its own status, and by the other objects that could be read."""
    condition = explaining_condition(job.status)
    reason = condition.reason if condition else ""
    return Explanation(
        job=job.key,
        phase=job.status.phase or "",
        reason=reason,
        headline=_headline(snapshot, job, reason),
        why=tuple(_why(snapshot, job, condition)),
        change=() if job.status.phase == Phase.SUCCEEDED else tuple(advice(job, reason)),
        history=tuple(history(snapshot, job)),
        unknown=snapshot.unknown,
    )


def _preparation(reason: str) -> str:
    """Return what a job in the phase Preparing does: it may have no pod yet."""
    if reason == Reason.PREPARING:
        return "is being prepared: its data is fetched and checked, which takes no GPU."
    if reason == Reason.WAITING_FOR_REVIEW:
        return "waits until its labels are approved; it holds no GPU."
    if reason == Reason.NO_GPU_FITS:
        return "waits for a GPU that suits it; its data is fetched and checked when there is one."
    return "waits until its data can be fetched and checked, which takes no GPU."


def _headline(snapshot: ClusterSnapshot, job: Job, reason: str) -> str:
    name, status, now = str(job.key), job.status, snapshot.now
    place = f": number {status.queue_position} in the queue" if status.queue_position else ""
    epoch = f", {status.progress.summary} epochs" if status.progress and status.progress.summary else ""
    does = {"Validate": "validates", "Export": "exports"}.get(job.spec.mode or "", "trains")
    lines = {
        Phase.PREPARING: f"{name} {_preparation(reason)}",
        Phase.QUEUED: f"{name} waits for {'a GPU' if place or not job.local_queue else 'Kueue to admit it'}{place}.",
        Phase.ACQUIRING: f"{name} has its turn, and waits for {mib(job.need_mib)} to be measured free on its GPU.",
        Phase.TRAINING: f"{name} {does}{epoch}{_until(snapshot, job)}.",
        Phase.RELEASING: f"{name} has ended its turn; the GPU is being returned.",
        Phase.SUCCEEDED: f"{name} has succeeded{_ago(status.completion_time, now)}{epoch}.",
        Phase.FAILED: f"{name} has failed{_ago(status.completion_time, now)}{epoch}.",
        Phase.SUSPENDED: f"{name} is suspended{epoch}.",
    }
    if job.deleting:
        return f"{name} is being deleted."
    if not status.phase:
        return f"{name} has not been reconciled by an operator yet."
    return lines.get(Phase(status.phase), f"{name} is {status.phase}, a phase of another version of GPU Relay.")


def _until(snapshot: ClusterSnapshot, job: Job) -> str:
    end = expected_end(job)
    if end is None:
        return ""
    return f"; it should end at {clock(end, snapshot.now)}, in {span(end - snapshot.now)}"


def _ago(moment: str | None, now: datetime) -> str:
    return f" {span(now - parse_time(moment))} ago" if moment else ""


def _why(snapshot: ClusterSnapshot, job: Job, condition: Condition | None) -> Iterator[str]:
    yield from _operator_trouble(snapshot, job)
    if condition is not None and condition.reason not in _SHOWN_OTHERWISE:
        yield f"{condition.reason}: {_sentence(condition.message)}"
        if condition.reason in set(Reason):
            yield Reason(condition.reason).description
    if job.status.phase == Phase.QUEUED:
        yield from _queue(snapshot, job)
    yield from _resident_not_back(job)
    if job.status.phase == Phase.SUCCEEDED and job.status.results:
        yield from _results(job)


def _operator_trouble(snapshot: ClusterSnapshot, job: Job) -> Iterator[str]:
    """Yield what makes the status stale: no leader, or an operator that has not acted on this spec yet."""
    silent = leaderless(snapshot)
    if silent and job.status.phase not in TERMINAL_PHASES:
        yield silent
    if job.status.phase and job.status.observed_generation != job.generation:
        yield "The operator has not acted on the newest change of the spec yet."
    if not job.status.phase and not silent:
        age = span(snapshot.now - parse_time(job.created))
        yield f"It was created {age} ago. A running operator reconciles it within seconds: check its pods and logs."


def leaderless(snapshot: ClusterSnapshot) -> str:
    """Return that no operator is the leader; empty if one is, or may be."""
    silent = snapshot.leader.leaderless_for(snapshot.now) if snapshot.leader else None
    if silent is None:
        return ""
    return f"No operator has been the leader for {span(silent)}: no job starts, and this status may be outdated."


def _queue(snapshot: ClusterSnapshot, job: Job) -> Iterator[str]:
    yield f"It has waited for {span(snapshot.now - waits_since(job))}."
    if fits_nowhere(job):
        return
    start = expected_start(job)
    if start is not None:
        yield f"Its turn should begin at {clock(start, snapshot.now)}, in {span(start - snapshot.now)}."
    elif job.status.queue_position:
        yield "The start of its turn is unknown: there is no estimate of how long the training jobs before it take."
    ahead = ahead_of(snapshot, job.key)
    yield from before_it(snapshot, ahead, job.spec.priority)
    hidden = (job.status.queue_position or 1) - 1 - len(ahead)
    if hidden > 0 and not (snapshot.everywhere and snapshot.all_workloads):
        yield f"{hidden} of the jobs before it are in namespaces that you cannot see."
    yield from gpu_owners(snapshot, job)


def gpu_owners(snapshot: ClusterSnapshot, claim: Claim) -> Iterator[str]:
    """Yield who owns each GPU that could serve a job or Workload."""
    residents = {str(each): each for each in snapshot.residents or ()}
    for gpu in gpus_of(snapshot):
        resident = residents.get(gpu.resident.name) if gpu.resident else None
        if could_serve(claim, gpu.key, resident, snapshot.node_labels):
            yield _owner(snapshot, gpu)


def ahead_of(snapshot: ClusterSnapshot, key: JobKey) -> list[Claim]:
    """Return the jobs and Workloads before one in the queue, as far as they could be read."""
    line = waiting(snapshot)
    return line[: next((place for place, each in enumerate(line) if each.key == key), 0)]


def before_it(snapshot: ClusterSnapshot, ahead: Sequence[Claim], priority: int) -> Iterator[str]:
    """Yield which jobs and Workloads are before one in the queue."""
    named = ((title(each.key, snapshot.represented(each.key)), each.priority) for each in ahead[:_MOST_AHEAD])
    seen = [f"{name} (priority {its})" for name, its in named]
    more = f" and {len(ahead) - _MOST_AHEAD} more" if len(ahead) > _MOST_AHEAD else ""
    if seen:
        yield f"Before it in the queue: {', '.join(seen)}{more}; its own priority is {priority}."


def _owner(snapshot: ClusterSnapshot, gpu: Gpu) -> str:
    where = f"GPU {gpu.key}" + (f" on {gpu.node}" if gpu.node else "")
    if gpu.owner is None:
        return f"{where}: its owner cannot be seen."
    since = f" since {clock(gpu.owner.since, snapshot.now)}" if gpu.owner.since else ""
    if gpu.owner.job is None:
        state = f", which is {gpu.resident.state}" if gpu.resident else ""
        return f"{where} is owned by its resident{since}{state}."
    doing = f", {gpu.owner.phase}" if gpu.owner.phase else ""
    epoch = f", epoch {gpu.owner.epoch}" if gpu.owner.epoch else ""
    until = f", expected to end at {clock(gpu.owner.until, snapshot.now)}" if gpu.owner.until else ""
    owner = title(gpu.owner.job, gpu.owner.represents)
    return f"{where} is owned by {owner}{since}{doing}{epoch}{until}."


def _resident_not_back(job: Job) -> Iterator[str]:
    for condition in job.status.conditions:
        if condition.type == ConditionType.RESIDENT_RELOADED and condition.status != "True":
            yield f"The resident after its turn: {condition.reason}: {_sentence(condition.message)}"


def _results(job: Job) -> Iterator[str]:
    results = job.status.results
    if results is None:
        return
    if results.weights:
        yield f"Weights {results_at(job)}: {', '.join(results.weights.values())}."
    if results.metrics:
        yield f"Metrics of the {'best ' if job.spec.trains else ''}weights: {_figures(results.metrics)}."
    if results.validation is not None and job.spec.trains:
        yield f"On {results.validation.split}: {_figures(results.validation.metrics)}."
    if results.peak_memory is not None:
        yield f"It used {mib(results.peak_memory)} of the {mib(job.need_mib)} that it asked for."


def _figures(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in metrics.items())


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
