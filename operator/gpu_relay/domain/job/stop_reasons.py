"""Why the operator stops a training pod, in order of precedence, and what the end of its attempt then counts as.

The cause is written to `status.turn.stopping` before the pod is stopped, so any process knows why the pod ended.
"""

from dataclasses import dataclass

from gpu_relay.api.words import Reason
from gpu_relay.domain.job import pod_failures
from gpu_relay.domain.job.deadlines import deadline, deadline_message
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.outage import is_exhausted
from gpu_relay.domain.quantities import parse_time
from gpu_relay.domain.training_windows import has_closed
from gpu_relay.domain.turn_view import TurnView


@dataclass(frozen=True)
class Stop:
    """A cause to stop, with its message."""

    reason: Reason
    message: str


def withdrawn(view: TurnView, job: Job) -> Stop | None:
    """Return why the turn of a job must end, with or without a pod; None if it may continue."""
    if job.deleting:
        return Stop(Reason.STOPPING, "the job is being deleted")
    if job.spec.suspend:
        return Stop(Reason.SUSPENDED, "suspended on request; continues from its checkpoint when resumed")
    ends = deadline(job)
    if ends is not None and ends <= view.now:
        return Stop(Reason.DEADLINE_EXCEEDED, deadline_message(job))
    if view.withdrawal:
        return Stop(Reason.QUOTA_WITHDRAWN, f"{view.withdrawal}; resumes from its checkpoint when admitted again")
    other = view.preemptor
    if other is not None and job.spec.preemptible and job.spec.priority < other.priority:
        message = f"{other.name} (priority {other.priority}) has the GPU next; resumes from its checkpoint after it"
        return Stop(Reason.PREEMPTED, message)
    return None


def cause(view: TurnView, job: Job, pod: TrainingPod) -> Stop | None:
    """Return why a live pod must stop; None if it may continue."""
    return withdrawn(view, job) or _start_is_overdue(view, pod) or _must_yield(view, job)


def attempt_reason(stopping: Reason) -> Reason:
    """Return the reason of the attempt whose pod was stopped for a cause."""
    if stopping in {Reason.STOPPING, Reason.YIELDING_TO_RESIDENT}:
        return Reason.INTERRUPTED
    return stopping


def _start_is_overdue(view: TurnView, pod: TrainingPod) -> Stop | None:
    """Return why a pod has not started in time; None if it may still start."""
    if pod.waiting is None:
        return None
    waited = (view.now - parse_time(pod.created)).total_seconds()
    if waited > view.policy.pod_start_timeout or view.start_failing_for > view.policy.start_failure_timeout:
        return Stop(pod_failures.start_reason(pod), f"did not start: {pod_failures.start_message(pod)}")
    return None


def _must_yield(view: TurnView, job: Job) -> Stop | None:
    """Return why a job must yield to its resident; None if it need not.

    Its training window has ended; or it has refused requests, and its outage is exhausted.
    """
    gpu = job.spec.gpu
    if not gpu.yield_to_resident or view.resident is None:
        return None
    if gpu.start_when == "Immediately" and has_closed(view.resident, view.now):
        return Stop(Reason.YIELDING_TO_RESIDENT, f"the training window of resident {view.resident} has ended")
    if view.report is None or not view.report.refused:
        return None
    if not is_exhausted(view.lease, view.clocks, view.now):
        return None
    message = f"resident {view.resident} has refused requests and was unloaded for its maximum outage"
    return Stop(Reason.YIELDING_TO_RESIDENT, message)
