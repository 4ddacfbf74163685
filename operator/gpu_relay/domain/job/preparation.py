"""Before the queue: a pod without a GPU fetches and checks a job's data, while the resident stays loaded.

The record is `status.preparation`. The pod is created after that is written, and again if it disappears before it has
ended (law 4). A job that is prepared, or cannot be prepared, waits for a GPU like any other. What prevents the creation
of a valid pod costs no attempt: the job waits. So does a job whose labels a person has to approve (`review`), without a
pod; the next pod checks the labels as they are then.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gpu_relay.api.v1alpha1 import Preparation
from gpu_relay.api.words import COST_FREE_REASONS, FINAL_REASONS, Phase, Reason
from gpu_relay.domain.decision import Decision, DeletePod, EventRecord, Prepare
from gpu_relay.domain.job import pod_failures, review, status
from gpu_relay.domain.job.attempt_history import delay_after
from gpu_relay.domain.job.attempts import MESSAGE_LIMIT, end_of
from gpu_relay.domain.job.validation import objection
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.pod import Termination, TrainingPod
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.quantities import parse_time, timestamp
from gpu_relay.domain.untrusted import counts, mapping, seconds, whole

_BEFORE_A_TURN = frozenset({None, Phase.QUEUED, Phase.PREPARING, Phase.SUSPENDED})
_POLL = 5.0
_MOST_BYTES = 2**63
_DONE = frozenset({Reason.COMPLETED, Reason.PREPARATION_SKIPPED})
_DEADLINE_EXCEEDED = "DeadlineExceeded"
"""The kubelet's reason for a pod that exceeded its activeDeadlineSeconds."""


@dataclass(frozen=True)
class PreparationView:
    """Everything that a decision about one job's preparation depends on, read live within one pass."""

    now: datetime
    policy: Policy
    job: Job
    pod: TrainingPod | None = None
    """The preparing pod that the status names; None if it does not exist."""
    taken_by: TrainingPod | None = None
    """A pod of that name that belongs to another owner."""
    may_begin: bool = False
    """True if the job has a slot for a preparation."""
    obstacle: tuple[Reason, str] | None = None
    """Why no pod can be created now; used only while there is none."""
    refusal: tuple[Reason, str] | None = None
    """Why the API server refuses the pod, with its message."""
    failure: str = ""
    """Why the API server could not create a valid pod."""
    retry_in: float = 0.0
    """Seconds until an obstacle is checked again, or a failed creation retried; 0 retries it now."""


def pod_name(job: Job, number: int) -> str:
    """Return the name of a preparing pod; names of training pods end in a number."""
    return f"{job.key.name}-{number}-prepare"


def is_due(job: Job, policy: Policy) -> bool:
    """True for a job that must be prepared before it may wait for a GPU.

    Without a PVC for the output, nothing of a preparation would outlive its pod. An attempt has prepared its job. A job
    that can never run needs no preparation. Images are labelled even if the site leaves preparations to attempts: the
    resident that labels them is unloaded during an attempt.
    """
    if job.status.attempts or job.status.phase not in _BEFORE_A_TURN:
        return False
    if policy.preparations == 0 and job.spec.dataset.label is None and not is_under_way(job):
        return False
    if job.spec.output.persistent_volume_claim is None or objection(job) is not None:
        return False
    done = job.status.preparation
    return done is None or done.reason not in _DONE


def is_under_way(job: Job) -> bool:
    """True while the status names a preparing pod that is not known to have ended."""
    record = job.status.preparation
    return record is not None and record.reason is None


def plan(view: PreparationView) -> Decision:
    """Decide the next step of one job that must be prepared."""
    record = view.job.status.preparation
    if view.job.spec.suspend:
        live = view.pod is not None and view.pod.live and not view.pod.deleting
        return Decision.act(DeletePod(view.pod) if live and view.pod is not None else None)
    if record is None or record.reason is not None:
        return _begin(view, record)
    if view.refusal is not None:
        return _fail(view, record, *view.refusal)
    if view.pod is None:
        return _create(view, record)
    if view.pod.termination is not None:
        return _finish(view, record, view.pod, view.pod.termination)
    return _follow(view, record, view.pod)


def _begin(view: PreparationView, last: Preparation | None) -> Decision:
    """Record the preparation, then create its pod, unless others go first or the last one has just failed."""
    job = view.job
    if last is not None and review.waits(job):
        new = status.preparing(job, view.now, Reason.WAITING_FOR_REVIEW, last.message)
        return Decision(job=job, status=new)
    wait = pause(job, view.now, view.policy)
    if last is not None and wait > 0:
        new = status.preparing(job, view.now, Reason.PREPARATION_FAILED, _pause_message(last))
        return Decision(job=job, status=new, requeue_after=wait)
    if view.obstacle is not None:
        return _obstructed(view, last, *view.obstacle)
    if not view.may_begin:
        message = (
            f"{view.policy.preparation_slots} other jobs are being prepared in namespace {job.key.namespace}; "
            "this one is prepared after them"
        )
        return Decision(job=job, status=status.preparing(job, view.now, Reason.WAITING_TO_PREPARE, message))
    number = last.number + 1 if last else 1
    record = Preparation(
        number=number, pod=pod_name(job, number), failures=last.failures if last else 0, start_time=timestamp(view.now)
    )
    event = _begun(job, record)
    new = status.preparing(job, view.now, Reason.PREPARING, event.message, record)
    return Decision(action=Prepare(number), job=job, status=new, events=(event,), requeue_after=_POLL)


def _begun(job: Job, record: Preparation) -> EventRecord:
    labels = job.spec.dataset.label is not None
    work = "has SAM3 label the images, and checks them" if labels else "fetches and checks the data"
    return EventRecord(Reason.PREPARING, f"pod {record.pod} {work}; the resident stays loaded")


def _pause_message(last: Preparation) -> str:
    return f"preparation {last.number} ended ({last.reason}: {last.message}); the next one starts after a pause"


def pause(job: Job, now: datetime, policy: Policy) -> float:
    """Return the seconds until the next preparing pod of a job may be created; 0 where none has come to nothing.

    The pause grows with each preparation that came to nothing, whether it counts as a failure or not.
    """
    last = job.status.preparation
    if last is None or last.completion_time is None or last.reason == Reason.WAITING_FOR_REVIEW:
        return 0.0
    ready = parse_time(last.completion_time) + timedelta(seconds=delay_after(last.number, policy))
    return max(0.0, (ready - now).total_seconds())


def _obstructed(view: PreparationView, record: Preparation | None, reason: Reason, message: str) -> Decision:
    """Record an obstacle; if it cannot be removed, the training pod does the work."""
    job = view.job
    if reason == Reason.PREPARATION_SKIPPED:
        now, last = timestamp(view.now), record or Preparation(number=0, pod="", start_time=timestamp(view.now))
        left = last.model_copy(
            update={"reason": reason.value, "message": message, "failing_since": None, "completion_time": now}
        )
        new = status.prepared(job, view.now, left, reason, message)
        return Decision(job=job, status=new, events=(EventRecord(reason, message),))
    events = (EventRecord(reason, message, warning=True),) if reason == Reason.VOLUME_CLAIM_MISSING else ()
    new = status.preparing(job, view.now, reason, message, _stalled(view, record))
    return Decision(job=job, status=new, events=events, requeue_after=view.retry_in)


def _create(view: PreparationView, record: Preparation) -> Decision:
    """Create the pod that the status names, or record what prevents it."""
    job, other = view.job, view.taken_by
    if view.obstacle is not None:
        return _obstructed(view, record, *view.obstacle)
    if other is not None:
        return _wait_for_name(view, record, other)
    if not view.failure:
        return Decision(action=Prepare(record.number), job=job, events=(_begun(job, record),), requeue_after=_POLL)
    message = f"the API server could not create the preparing pod: {view.failure}; tries again"[:MESSAGE_LIMIT]
    new = status.preparing(job, view.now, Reason.POD_REFUSED, message, _stalled(view, record))
    if view.retry_in > 0:
        return Decision(job=job, status=new, requeue_after=view.retry_in)
    return Decision(action=Prepare(record.number), job=job, status=new, requeue_after=_POLL)


def _wait_for_name(view: PreparationView, record: Preparation, other: TrainingPod) -> Decision:
    """Wait until another pod of that name is gone.

    The pod of an earlier job of the same name is stopped: its job may have been deleted without its pods.
    """
    message = f"a pod named {other.name} exists and belongs to another owner: delete it, or rename the job"
    if other.job_uid or other.deleting:
        message = f"pod {other.name} of an earlier job is still ending; this job is prepared afterwards"
    step = DeletePod(other) if other.job_uid and not other.deleting else None
    new = status.preparing(view.job, view.now, Reason.POD_NAME_TAKEN, message, _stalled(view, record))
    return Decision(action=step, job=view.job, status=new, requeue_after=_POLL)


def _stalled(view: PreparationView, record: Preparation | None) -> Preparation | None:
    """Record since when a pod could not be created or started; return a record that has no pod as it is."""
    if record is None or record.reason is not None:
        return record
    return record.model_copy(update={"failing_since": record.failing_since or timestamp(view.now)})


def _follow(view: PreparationView, record: Preparation, pod: TrainingPod) -> Decision:
    """Record the state of a pod that has not ended; end one that does not start."""
    reason, message = Reason.PREPARING, _begun(view.job, record).message
    failing = pod_failures.is_start_failure(pod) and not pod.deleting
    record = (_stalled(view, record) if failing else None) or record.model_copy(update={"failing_since": None})
    if pod.deleting:
        stuck = pod_failures.stuck_message(pod, view.now, view.policy.stuck_after, blocked="preparation")
        reason, message = (
            (Reason.POD_STUCK, stuck) if stuck else (Reason.STOPPING, pod_failures.disruption_message(pod))
        )
    elif pod.waiting is not None:
        reason, message = pod_failures.start_reason(pod), pod_failures.start_message(pod)
        waited = (view.now - parse_time(pod.created)).total_seconds()
        since = record.failing_since
        failed_for = (view.now - parse_time(since)).total_seconds() if since is not None else 0.0
        if waited > view.policy.pod_start_timeout or failed_for > view.policy.start_failure_timeout:
            return _fail(view, record, reason, f"{message}; did not start in {waited:.0f} s", DeletePod(pod))
    new = status.preparing(view.job, view.now, reason, message, record)
    return Decision(job=view.job, status=new, requeue_after=_POLL)


def _finish(view: PreparationView, record: Preparation, pod: TrainingPod, termination: Termination) -> Decision:
    reason, message = _end_of(view.job, pod, termination)
    step = DeletePod(pod) if pod.live and not pod.deleting else None  # a sidecar may outlive the trainer
    if reason != Reason.COMPLETED:
        return _fail(view, record, reason, message, step)
    found = mapping(termination.last_word.get("prepared"))
    done = record.model_copy(
        update={
            "reason": Reason.COMPLETED.value,
            "message": message[:MESSAGE_LIMIT],
            "failing_since": None,
            "completion_time": termination.finished or timestamp(view.now),
            "seconds": seconds(found.get("seconds")),
            "bytes": whole(found.get("bytes"), _MOST_BYTES),
            "images": counts(found.get("images")),
        }
    )
    if review.must_wait(view.job, termination):
        return _end_labelling(view, done, termination, step)
    event = EventRecord(Reason.PREPARED, f"{done.message}; the GPU was not needed for it")
    new = status.prepared(view.job, view.now, done, event.reason, event.message)
    return Decision(action=step, job=view.job, status=new, events=(event,))


def _end_labelling(
    view: PreparationView, done: Preparation, termination: Termination, step: DeletePod | None
) -> Decision:
    """Record that the labels are made. The next preparing pod, after the approval, takes them as people left them."""
    job, reason = view.job, Reason.WAITING_FOR_REVIEW
    message = review.message(job, termination)[:MESSAGE_LIMIT]
    record = done.model_copy(update={"reason": reason.value, "message": message})
    if review.is_approved(job):
        new = status.preparing(
            job, view.now, Reason.PREPARING, "the labels are approved; they are checked next", record
        )
        return Decision(action=step, job=job, status=new)
    new = status.preparing(job, view.now, reason, message, record)
    return Decision(action=step, job=job, status=new, events=(EventRecord(reason, message),))


def _end_of(job: Job, pod: TrainingPod, termination: Termination) -> tuple[Reason, str]:
    """Return why a preparing pod ended; an exceeded time limit counts as a failure."""
    reason, message = end_of(job, pod, termination)
    if termination.pod_reason != _DEADLINE_EXCEEDED or reason in FINAL_REASONS | {Reason.COMPLETED}:
        return reason, message
    return Reason.PREPARATION_TIMED_OUT, (
        f"pod {pod.name} exceeded its time limit at an unknown step: check that the data can be reached, or "
        f"raise the operator's GPU_RELAY_PREPARATION_TIMEOUT ({termination.pod_message or message})"
    )


def _fail(
    view: PreparationView, record: Preparation, reason: Reason, message: str, step: DeletePod | None = None
) -> Decision:
    """Record a failed preparation: the job fails, or the next preparation follows after a pause."""
    job, failures = view.job, record.failures + (reason not in COST_FREE_REASONS)
    ended = record.model_copy(
        update={
            "reason": reason.value,
            "message": message[:MESSAGE_LIMIT],
            "failures": failures,
            "failing_since": None,
            "completion_time": timestamp(view.now),
        }
    )
    text = f"preparation {record.number} ended: {reason}: {ended.message}"
    if reason in FINAL_REASONS | {Reason.POD_REFUSED}:
        new = status.failed(job, view.now, reason, ended.message, preparation=ended)
    elif failures > job.spec.backoff_limit:
        count = f"{failures} preparations failed, backoffLimit is {job.spec.backoff_limit}"
        reason, text = Reason.BACKOFF_LIMIT_EXCEEDED, f"{count}; the last one: {reason}: {ended.message}"
        new = status.failed(job, view.now, reason, text, preparation=ended)
    else:
        new = status.preparing(job, view.now, Reason.PREPARATION_FAILED, _pause_message(ended), ended)
        reason = Reason.PREPARATION_FAILED
    return Decision(action=step, job=job, status=new, events=(EventRecord(reason, text, warning=True),))
