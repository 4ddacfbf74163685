"""Before the queue: a pod without a GPU fetches and checks a job's data, while the resident keeps its memory.

What is written down is in `status.preparation`; the pod is created after that, and again if it is gone before it has
ended (law 4). A job that has been prepared, or cannot be, waits for a GPU like any other.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gpu_relay.api.v1alpha1 import Preparation
from gpu_relay.api.words import COST_FREE_REASONS, FINAL_REASONS, Phase, Reason
from gpu_relay.domain import mishaps, status
from gpu_relay.domain.backoff import delay_after
from gpu_relay.domain.model import Job, Policy, Termination, TrainingPod
from gpu_relay.domain.outcome import MESSAGE_LIMIT, end_of
from gpu_relay.domain.quantities import parse_time, timestamp
from gpu_relay.domain.steps import Decision, DeletePod, Notice, Prepare
from gpu_relay.domain.untrusted import counts, seconds, whole
from gpu_relay.domain.validation import objection

_BEFORE_A_TURN = frozenset({None, Phase.QUEUED, Phase.PREPARING, Phase.SUSPENDED})
_POLL = 5.0
_MOST_BYTES = 2**63


@dataclass(frozen=True)
class PreparationView:
    """All that one decision about one job's preparation is made from. Read live, within one pass."""

    now: datetime
    policy: Policy
    job: Job
    pod: TrainingPod | None = None
    """The preparing pod that the status names; None where it does not exist."""
    may_begin: bool = False
    """True where another preparation may run beside those that do."""
    refusal: tuple[Reason, str] | None = None
    """Why the API server would not have the pod, and its words."""


def pod_name(job: Job, number: int) -> str:
    """Return the name of a preparing pod; no training pod of any job can have it, theirs end in a number."""
    return f"{job.key.name}-{number}-prepare"


def is_due(job: Job, policy: Policy) -> bool:
    """True for a job that is to be prepared before it may wait for a GPU.

    Without a claim for its output, nothing of a preparation would outlive its pod. What has been attempted has been
    prepared by the attempt. What can never run is not worth it.
    """
    if job.status.attempts or job.status.phase not in _BEFORE_A_TURN:
        return False
    if policy.preparations == 0 and not is_under_way(job):
        return False
    if job.spec.output.persistent_volume_claim is None or objection(job) is not None:
        return False
    done = job.status.preparation
    return done is None or done.reason != Reason.COMPLETED


def is_under_way(job: Job) -> bool:
    """True while the status names a preparing pod that is not known to have ended."""
    record = job.status.preparation
    return record is not None and record.reason is None


def plan(view: PreparationView) -> Decision:
    """Decide the next step of one job that is to be prepared."""
    record = view.job.status.preparation
    if view.job.spec.suspend:
        live = view.pod is not None and view.pod.live and not view.pod.deleting
        return Decision(DeletePod(view.pod) if live and view.pod is not None else None)
    if record is None or record.reason is not None:
        return _begins(view, record)
    if view.refusal is not None:
        return _failed(view, record, *view.refusal)
    if view.pod is None:
        return Decision(Prepare(record.number), again_in=_POLL)
    if view.pod.termination is not None:
        return _ended(view, record, view.pod, view.pod.termination)
    return _follows(view, record, view.pod)


def _begins(view: PreparationView, last: Preparation | None) -> Decision:
    """Write down that a pod prepares the job, then create it; unless others go first, or the last one has failed."""
    job = view.job
    pause = _pause(view, last)
    if last is not None and pause > 0:
        message = f"preparation {last.number} ended ({last.reason}: {last.message}); the next one starts after a pause"
        return Decision(None, job, status.preparing(job, view.now, Reason.PREPARATION_FAILED, message), again_in=pause)
    if not view.may_begin:
        message = f"{view.policy.preparations} other jobs are being prepared; this one is prepared after them"
        return Decision(None, job, status.preparing(job, view.now, Reason.WAITING_TO_PREPARE, message))
    number = last.number + 1 if last else 1
    record = Preparation(
        number=number, pod=pod_name(job, number), failures=last.failures if last else 0, start_time=timestamp(view.now)
    )
    told = Notice(Reason.PREPARING, f"pod {record.pod} fetches and checks the data; the resident stays loaded")
    new = status.preparing(job, view.now, Reason.PREPARING, told.message, record)
    return Decision(Prepare(number), job, new, (told,), again_in=_POLL)


def _pause(view: PreparationView, last: Preparation | None) -> float:
    """Return the seconds until the next pod may be created."""
    if last is None or last.completion_time is None:
        return 0.0
    ready = parse_time(last.completion_time) + timedelta(seconds=delay_after(last.failures, view.policy))
    return max(0.0, (ready - view.now).total_seconds())


def _follows(view: PreparationView, record: Preparation, pod: TrainingPod) -> Decision:
    """Say how a pod that has not ended is; give up one that does not start."""
    reason, message = Reason.PREPARING, f"pod {pod.name} fetches and checks the data; the resident stays loaded"
    if pod.deleting:
        stuck = mishaps.stuck_message(pod, view.now, view.policy.stuck_after)
        reason, message = (Reason.POD_STUCK, stuck) if stuck else (Reason.STOPPING, mishaps.disruption_message(pod))
    elif pod.waiting is not None:
        reason, message = mishaps.start_reason(pod), mishaps.start_message(pod)
        waited = (view.now - parse_time(pod.created)).total_seconds()
        if waited > view.policy.pod_start_timeout:
            return _failed(view, record, reason, f"{message}; given up after {waited:.0f} s", DeletePod(pod))
    new = status.preparing(view.job, view.now, reason, message, record)
    return Decision(None, view.job, new, again_in=_POLL)


def _ended(view: PreparationView, record: Preparation, pod: TrainingPod, termination: Termination) -> Decision:
    reason, message = end_of(view.job, pod, termination)
    if reason != Reason.COMPLETED:
        return _failed(view, record, reason, message)
    said = termination.last_word.get("prepared")
    found = said if isinstance(said, dict) else {}
    done = record.model_copy(
        update={
            "reason": Reason.COMPLETED.value,
            "message": message[:MESSAGE_LIMIT],
            "completion_time": termination.finished or timestamp(view.now),
            "seconds": seconds(found.get("seconds")),
            "bytes": whole(found.get("bytes"), _MOST_BYTES),
            "images": counts(found.get("images")),
        }
    )
    told = Notice(Reason.PREPARED, f"{done.message}; the GPU was not needed for it")
    return Decision(None, view.job, status.prepared(view.job, view.now, done, told.message), (told,))


def _failed(
    view: PreparationView, record: Preparation, reason: Reason, message: str, step: DeletePod | None = None
) -> Decision:
    """Record a preparation that came to nothing: final, or to be tried again."""
    job, failures = view.job, record.failures + (reason not in COST_FREE_REASONS)
    ended = record.model_copy(
        update={
            "reason": reason.value,
            "message": message[:MESSAGE_LIMIT],
            "failures": failures,
            "completion_time": timestamp(view.now),
        }
    )
    said = f"preparation {record.number} ended: {reason}: {ended.message}"
    if reason in FINAL_REASONS:
        new = status.failed(job, view.now, reason, ended.message, preparation=ended)
    elif failures > job.spec.backoff_limit:
        count = f"{failures} preparations failed, backoffLimit is {job.spec.backoff_limit}"
        reason, said = Reason.BACKOFF_LIMIT_EXCEEDED, f"{count}; the last one: {reason}: {ended.message}"
        new = status.failed(job, view.now, reason, said, preparation=ended)
    else:
        new = status.preparing(job, view.now, Reason.PREPARATION_FAILED, f"{said}; tries again", ended)
        return Decision(step, job, new, (Notice(Reason.PREPARATION_FAILED, said, warning=True),), again_in=0)
    return Decision(step, job, new, (Notice(reason, said, warning=True),))
