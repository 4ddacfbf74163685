"""The status of a job in each phase: conditions follow kstatus, with stable transition times."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from gpu_relay.api.v1alpha1 import (
    Attempt,
    Condition,
    Curve,
    Preparation,
    Progress,
    Turn,
    YoloTrainingJobStatus,
)
from gpu_relay.api.words import YIELDED_REASONS, ConditionType, Phase, Reason
from gpu_relay.domain.job.attempt_history import remembered
from gpu_relay.domain.job.attempts import Verdict
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.quantities import timestamp
from gpu_relay.domain.turn_view import TurnView

Sharing = Literal["Coresident"] | None
Fact = tuple[Literal["True", "False", "Unknown"], Reason, str]
_SHOWN_ORDER = tuple(ConditionType)


def conditions(job: Job, now: datetime, facts: Mapping[ConditionType, Fact]) -> list[Condition]:
    """Return exactly the conditions in `facts`; each keeps its transition time unless its status has changed."""
    before = {condition.type: condition for condition in job.status.conditions}
    result = []
    for kind in _SHOWN_ORDER:
        if kind not in facts:
            continue
        status, reason, message = facts[kind]
        old = before.get(kind)
        since = old.last_transition_time if old is not None and old.status == status else timestamp(now)
        result.append(
            Condition(
                type=kind,
                status=status,
                reason=reason,
                message=message,
                last_transition_time=since,
                observed_generation=job.generation,
            )
        )
    return result


def _changed(
    job: Job, now: datetime, phase: Phase, facts: dict[ConditionType, Fact], **fields: Any
) -> YoloTrainingJobStatus:
    return job.status.model_copy(
        update={
            "observed_generation": job.generation,
            "phase": phase,
            "conditions": conditions(job, now, _resumed(job) | facts),
            "queue_position": None,
            "estimated_start_time": None,
            **fields,
        }
    )


def queued(
    job: Job, now: datetime, position: int, start: str | None, reason: Reason, message: str
) -> YoloTrainingJobStatus:
    """Return the status of a job that waits for a GPU; `start` is when its turn should begin, None if unknown."""
    facts = _reload_fact(job) | {
        ConditionType.RECONCILING: ("True", reason, message),
        ConditionType.GPU_ACQUIRED: ("False", reason, "waits for its turn"),
    }
    return _changed(job, now, Phase.QUEUED, facts, queue_position=position, estimated_start_time=start, turn=None)


def awaiting_admission(job: Job, now: datetime, reason: Reason, message: str) -> YoloTrainingJobStatus:
    """Return the status of a job that Kueue has not admitted; it has no place in the queue."""
    facts = _reload_fact(job) | {
        ConditionType.RECONCILING: ("True", reason, message),
        ConditionType.GPU_ACQUIRED: ("False", reason, "not yet in the queue for a GPU"),
    }
    return _changed(job, now, Phase.QUEUED, facts, turn=None)


def suspended(job: Job, now: datetime) -> YoloTrainingJobStatus:
    """Return the status of a job that is suspended and owns no GPU."""
    message = "spec.suspend is true; set it to false to resume"
    facts = _reload_fact(job) | {
        ConditionType.SUSPENDED: ("True", Reason.SUSPENDED, message),
        ConditionType.GPU_ACQUIRED: ("False", Reason.SUSPENDED, "suspended jobs own no GPU"),
    }
    return _changed(job, now, Phase.SUSPENDED, facts, turn=None, start_time=None)


def observed(job: Job) -> YoloTrainingJobStatus:
    """Return the status of a job at rest whose spec has changed without effect, as observed (kstatus)."""
    seen = [condition.model_copy(update={"observed_generation": job.generation}) for condition in job.status.conditions]
    return job.status.model_copy(update={"observed_generation": job.generation, "conditions": seen})


def preparing(
    job: Job, now: datetime, reason: Reason, message: str, record: Preparation | None = None
) -> YoloTrainingJobStatus:
    """Return the status of a job whose data is fetched and checked; `record` replaces the record of it."""
    facts: dict[ConditionType, Fact] = {
        ConditionType.RECONCILING: ("True", reason, message),
        ConditionType.GPU_ACQUIRED: ("False", reason, "not yet in the queue for a GPU"),
    }
    return _changed(job, now, Phase.PREPARING, facts, preparation=record or job.status.preparation)


def prepared(job: Job, now: datetime, record: Preparation, reason: Reason, message: str) -> YoloTrainingJobStatus:
    """Return the status of a job that joins the queue, prepared or not to be prepared."""
    facts: dict[ConditionType, Fact] = {
        ConditionType.RECONCILING: ("True", reason, message),
        ConditionType.GPU_ACQUIRED: ("False", reason, "waits for its turn"),
    }
    return _changed(job, now, Phase.QUEUED, facts, preparation=record)


def failed(job: Job, now: datetime, reason: Reason, message: str, **fields: Any) -> YoloTrainingJobStatus:
    """Return the status of a job that fails without a turn: its spec cannot run, or it is past its deadline."""
    facts = _reload_fact(job) | {
        ConditionType.STALLED: ("True", reason, message),
        ConditionType.FAILED: ("True", reason, message),
    }
    return _changed(job, now, Phase.FAILED, facts, completion_time=timestamp(now), **fields)


def acquiring(
    view: TurnView, job: Job, reason: Reason, message: str, *, sharing: Sharing = None
) -> YoloTrainingJobStatus:
    """Return the status of a job that owns a GPU without proven memory yet; `sharing` is how its pod will run."""
    facts: dict[ConditionType, Fact] = {
        ConditionType.RECONCILING: ("True", reason, message),
        ConditionType.GPU_ACQUIRED: ("False", reason, message),
    }
    return _changed(
        job, view.now, Phase.ACQUIRING, facts, **_turn_fields(view, job, sharing),
        attempt=job.next_attempt, progress=None,
    )  # fmt: skip


def training(
    view: TurnView,
    job: Job,
    pod: str,
    reason: Reason,
    message: str,
    progress: Progress | None,
    curve: Curve | None,
    stopping: Reason | None,
) -> YoloTrainingJobStatus:
    """Return the status of a job whose training pod exists; `stopping` is why the operator stops it."""
    facts: dict[ConditionType, Fact] = {
        ConditionType.RECONCILING: ("True", reason, message),
        ConditionType.GPU_ACQUIRED: ("True", Reason.MEMORY_PROVEN, _proof(view, job)),
    }
    return _changed(
        job, view.now, Phase.TRAINING, facts, **_turn_fields(view, job, view.sharing, stopping),
        attempt=job.next_attempt, pod=pod, progress=progress, curve=curve,
    )  # fmt: skip


def releasing(view: TurnView, job: Job, attempt: Attempt, message: str, **fields: Any) -> YoloTrainingJobStatus:
    """Return the status of a job whose turn has ended, with its attempt."""
    reason = Reason(attempt.reason)
    facts: dict[ConditionType, Fact] = {
        ConditionType.RECONCILING: ("True", reason, message),
        ConditionType.GPU_ACQUIRED: ("False", reason, "the turn has ended"),
        ConditionType.RESIDENT_RELOADED: ("False", Reason.GPU_RETURNED, "the resident is loaded next"),
    }
    attempts = remembered([*job.status.attempts, attempt])
    # A short training ends before a status shows its turn.
    known = _turn_fields(view, job, view.sharing, view.recorded_stop)
    return _changed(job, view.now, Phase.RELEASING, facts, attempts=attempts, **known, **fields)


def kept_waiting(job: Job, reason: Reason, message: str) -> YoloTrainingJobStatus:
    """Return the status, with the reason, of a job whose attempt is recorded, while its GPU is not free yet."""
    kind = ConditionType.RECONCILING
    update = {"reason": reason, "message": message, "observed_generation": job.generation}
    changed = [c.model_copy(update=update) if c.type == kind else c for c in job.status.conditions]
    return job.status.model_copy(update={"observed_generation": job.generation, "conditions": changed})


def withdrawn(view: TurnView, job: Job, reason: Reason, message: str) -> YoloTrainingJobStatus:
    """Return the status of a job whose turn has ended before it had a pod."""
    facts: dict[ConditionType, Fact] = {
        ConditionType.RECONCILING: ("True", reason, message),
        ConditionType.GPU_ACQUIRED: ("False", reason, "the turn has ended"),
        ConditionType.RESIDENT_RELOADED: ("False", Reason.GPU_RETURNED, "the resident is loaded next"),
    }
    start = None if reason in YIELDED_REASONS else job.status.start_time
    known = _turn_fields(view, job, None)
    return _changed(job, view.now, Phase.RELEASING, facts, turn=known["turn"], start_time=start)


def settled(job: Job, now: datetime, verdict: Verdict, reload: Fact) -> YoloTrainingJobStatus:
    """Return the status of a job after its turn: succeeded, failed, suspended, or in the queue again."""
    facts: dict[ConditionType, Fact] = {
        ConditionType.GPU_ACQUIRED: ("False", verdict.reason, "the turn has ended"),
        ConditionType.RESIDENT_RELOADED: reload,
    }
    match verdict.phase:
        case Phase.SUCCEEDED:
            facts[ConditionType.COMPLETE] = ("True", verdict.reason, verdict.message)
        case Phase.FAILED:
            facts[ConditionType.FAILED] = facts[ConditionType.STALLED] = ("True", verdict.reason, verdict.message)
        case Phase.SUSPENDED:
            facts[ConditionType.SUSPENDED] = ("True", verdict.reason, verdict.message)
        case _:
            facts[ConditionType.RECONCILING] = ("True", verdict.reason, verdict.message)
    terminal = verdict.phase in {Phase.SUCCEEDED, Phase.FAILED}
    completion = (job.status.completion_time or timestamp(now)) if terminal else None
    start = None if verdict.reason in YIELDED_REASONS else job.status.start_time
    return _changed(job, now, verdict.phase, facts, turn=None, completion_time=completion, start_time=start)


def with_reload(job: Job, now: datetime, reload: Fact) -> YoloTrainingJobStatus:
    """Return the status of a job that waits again, with only the condition ResidentReloaded changed."""
    kind = ConditionType.RESIDENT_RELOADED
    others = [each for each in job.status.conditions if each.type != kind]
    return job.status.model_copy(update={"conditions": [*others, *conditions(job, now, {kind: reload})]})


def reload_of(job: Job | None) -> Fact | None:
    """Return the condition ResidentReloaded of the last turn; None without it."""
    found = job.status.conditions if job is not None else []
    old = next((condition for condition in found if condition.type == ConditionType.RESIDENT_RELOADED), None)
    return None if old is None else (old.status, Reason(old.reason), old.message)


def _reload_fact(job: Job) -> dict[ConditionType, Fact]:
    """Keep the condition ResidentReloaded of the last turn while the job waits for the next one."""
    fact = reload_of(job)
    return {} if fact is None else {ConditionType.RESIDENT_RELOADED: fact}


def _resumed(job: Job) -> dict[ConditionType, Fact]:
    """Keep the condition Suspended of a job that was suspended, as batch/v1 Job does."""
    kind = ConditionType.SUSPENDED
    if all(condition.type != kind for condition in job.status.conditions):
        return {}
    return {kind: ("False", Reason.RESUMED, "spec.suspend is false again; resumes from its checkpoint")}


def _turn_fields(view: TurnView, job: Job, sharing: Sharing, stopping: Reason | None = None) -> dict[str, Any]:
    since = view.lease.acquired or timestamp(view.now)
    return {
        "turn": Turn(fence=view.lease.fence, gpu=view.lease.gpu, since=since, stopping=stopping, sharing=sharing),
        "gpu": view.gpu_status,
        "start_time": job.status.start_time or since,
    }


def _proof(view: TurnView, job: Job) -> str:
    gpu = view.gpu_status
    if gpu.free_after is None:
        return "the training pod owns the GPU"
    return f"{gpu.free_after:,} MiB measured free, {gpu.needed or job.need_mib:,} MiB needed"
