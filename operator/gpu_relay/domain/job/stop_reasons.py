"""Why a training is told to stop, in order of precedence, and what its end then counts as.

The cause is written to `status.turn.stopping` before the pod is told (law 5's way of doing things), so that the pod's
end is read right by whichever process sees it.
"""

from dataclasses import dataclass

from gpu_relay.api.words import Reason
from gpu_relay.domain.job import pod_failures
from gpu_relay.domain.job.deadlines import deadline, deadline_message
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.outage import is_exhausted
from gpu_relay.domain.quantities import parse_time
from gpu_relay.domain.turn_view import TurnView


@dataclass(frozen=True)
class Stop:
    """A cause to stop, with a sentence."""

    reason: Reason
    message: str


def withdrawn(view: TurnView, job: Job) -> Stop | None:
    """Return why a job should not have its turn any longer, pod or no pod; None while it should."""
    if job.deleting:
        return Stop(Reason.STOPPING, "the job is being deleted")
    if job.spec.suspend:
        return Stop(Reason.SUSPENDED, "suspended on request; goes on from its checkpoint when resumed")
    ends = deadline(job)
    if ends is not None and ends <= view.now:
        return Stop(Reason.DEADLINE_EXCEEDED, deadline_message(job))
    if view.withdrawal:
        return Stop(Reason.QUOTA_WITHDRAWN, f"{view.withdrawal}; goes on from its checkpoint when admitted again")
    other = view.preemptor
    if other is not None and job.spec.preemptible and job.spec.priority < other.priority:
        message = f"{other.name} (priority {other.priority}) has the GPU next; goes on from its checkpoint after it"
        return Stop(Reason.PREEMPTED, message)
    return None


def cause(view: TurnView, job: Job, pod: TrainingPod) -> Stop | None:
    """Return why a live pod is to be told to stop; None while it may go on."""
    return withdrawn(view, job) or _start_is_overdue(view, pod) or _must_yield(view, job)


def attempt_reason(stopping: Reason) -> Reason:
    """Return what the attempt of a pod that was told to stop ended as."""
    if stopping in {Reason.STOPPING, Reason.YIELDING_TO_RESIDENT}:
        return Reason.INTERRUPTED
    return stopping


def _start_is_overdue(view: TurnView, pod: TrainingPod) -> Stop | None:
    """A pod that has not started for so long that the resident should have its GPU back."""
    if pod.waiting is None:
        return None
    waited = (view.now - parse_time(pod.created)).total_seconds()
    if waited > view.policy.pod_start_timeout or view.start_failing_for > view.policy.start_failure_timeout:
        return Stop(pod_failures.start_reason(pod), f"did not start: {pod_failures.start_message(pod)}")
    return None


def _must_yield(view: TurnView, job: Job) -> Stop | None:
    """A job that yields has kept its resident out for too long, and the resident is wanted."""
    if not job.spec.gpu.yield_to_resident or view.report is None or not view.report.refused:
        return None
    if not is_exhausted(view.lease, view.clocks, view.now):
        return None
    message = f"resident {view.resident} has refused requests and was out for as long as it may be"
    return Stop(Reason.YIELDING_TO_RESIDENT, message)
