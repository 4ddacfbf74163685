"""The plan of a handback: the rules of a GPU whose Lease the resident holds, read from top to bottom (see `plan`)."""

from datetime import timedelta

from gpu_relay.api.words import ANNOTATION_NEXT_JOB, TERMINAL_PHASES, Phase, Reason
from gpu_relay.domain.decision import Decision, DeletePod, EventRecord, HandOver, Load, Rule, SettleReload
from gpu_relay.domain.job import status
from gpu_relay.domain.job.attempts import Verdict, verdict
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.lease import HOLDER_RESIDENT
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.quantities import mib, parse_time
from gpu_relay.domain.turn_view import TurnView

POD_POLL = 2.0
RESIDENT_POLL = 3.0
_SLACK = 10.0
"""Seconds by which the clocks of node, API server and operator may differ."""
_HANDOVER_LIMIT = timedelta(seconds=10)
"""Time in which the next job must take a GPU that is handed over to it; then the resident is loaded."""


def pods_overstay(view: TurnView) -> Decision | None:
    """Stop training pods without a turn before the resident loads (law 2)."""
    return stop_live_pods(view)


def no_reload_pending(view: TurnView) -> Decision | None:
    """Do nothing if no turn unloaded the resident, or it is loaded again."""
    return None if view.lease.reload_pending else Decision.wait()


def resident_is_missing(view: TurnView) -> Decision | None:
    """Keep the pending reload in the Lease until the resident answers (law 3)."""
    if view.report is not None:
        return None
    reason = Reason.RESIDENT_MISSING if view.resident is None else Reason.RESIDENT_UNREACHABLE
    return _settle(
        view, None, ("False", reason, "the resident does not answer; it is loaded when it does"), RESIDENT_POLL
    )


def resident_is_loaded(view: TurnView) -> Decision | None:
    """Record that the resident is loaded and not held, and settle the job."""
    report = view.report
    if report is None or not report.model_loaded:
        return None
    if any(each.report is not None and each.report.hold is not None for each in view.residents):
        return None
    message = f"{view.resident} is loaded again: {mib(report.used_mib)} used, {mib(report.free_mib)} free"
    return _settle(view, SettleReload(), ("True", Reason.RESIDENT_LOADED, message), 0)


def hand_over_to_next_turn(view: TurnView) -> Decision | None:
    """Leave the GPU to the next job without a reload, while the outage is short enough."""
    if not may_hand_over(view):
        return None
    left = handover_time_left(view)
    job, fact = view.job, status.reload_of(view.job)
    if job is None or fact is None or fact[1] != Reason.GPU_PASSED_ON or job.status.phase == Phase.RELEASING:
        return _settle(view, HandOver(), handover_condition(view), left)
    # The next job may change until one takes the GPU. That does not change the status of this job.
    events = (verdict_event(view, verdict(job, view.now), fact),) if job.status.phase in TERMINAL_PHASES else ()
    return Decision(action=HandOver(), job=job, events=events, requeue_after=left)


def handover_time_left(view: TurnView) -> float:
    """Return the seconds for which a GPU waits for the next job; the scheduler requeues it when no job waits for it."""
    lease = view.lease
    returned = parse_time(lease.acquired) if lease.acquired and lease.holder == HOLDER_RESIDENT else view.now
    out_since = view.outage_since or returned
    left = (min(returned + _HANDOVER_LIMIT, out_since + view.clocks.max_outage) - view.now).total_seconds()
    return min(left, view.idle_outage_left)


def may_hand_over(view: TurnView) -> bool:
    """True if a job waits for the GPU, and the resident may stay unloaded for another turn."""
    return bool(view.successor) and not view.load_failed and handover_time_left(view) > 0


def handover_condition(view: TurnView) -> status.Fact:
    """Return the condition ResidentReloaded of a GPU that the next job gets first."""
    message = f"{view.successor} has the GPU next; the resident is loaded after it"
    return "False", Reason.GPU_PASSED_ON, message


def load_resident(view: TurnView) -> Decision | None:
    """Load the resident; after a failure, settle the job and retry the load indefinitely."""
    if not view.load_failed:
        return Decision.act(Load(), requeue_after=0)
    fact: status.Fact = ("False", Reason.RESIDENT_LOAD_FAILED, f"{view.resident}: {view.failure}; tries again")
    return _settle(view, Load(), fact, RESIDENT_POLL)


def _settle(
    view: TurnView, step: SettleReload | Load | HandOver | None, reload: status.Fact, requeue_after: float
) -> Decision:
    """Record what becomes of the reload, and settle the job by its attempts."""
    job = view.job
    if job is None or _has_moved_on(view, job):
        return Decision.act(step, requeue_after=requeue_after)
    handed_over = reload[1] == Reason.GPU_PASSED_ON
    reported = EventRecord(reload[1], reload[2], reload[0] == "False" and not handed_over, _next(view, reload))
    if job.status.phase not in TERMINAL_PHASES | {Phase.RELEASING, Phase.SUSPENDED}:
        new = status.with_reload(job, view.now, reload)
        return Decision(action=step, job=job, status=new, events=(reported,), requeue_after=requeue_after)
    judged = verdict(job, view.now)
    new = status.settled(job, view.now, judged, reload)
    if job.status.phase == Phase.SUSPENDED or judged.phase == Phase.QUEUED:
        return Decision(action=step, job=job, status=new, events=(reported,), requeue_after=requeue_after)
    event = verdict_event(view, judged, reload)
    events = (event,) if handed_over else (reported, event)
    return Decision(action=step, job=job, status=new, events=events, requeue_after=requeue_after)


def _has_moved_on(view: TurnView, job: Job) -> bool:
    """True for a job whose current or last turn is another one: its status does not concern this GPU (law 8)."""
    present, attempts = job.status.turn, job.status.attempts
    if job.status.phase in {Phase.ACQUIRING, Phase.TRAINING}:
        return True
    if present is not None:
        return not view.is_this_turn(present.fence, present.gpu)
    if job.status.phase == Phase.RELEASING or not attempts:
        return False
    return not view.is_this_turn(attempts[-1].fence, attempts[-1].gpu)


def verdict_event(view: TurnView, judged: Verdict, reload: status.Fact) -> EventRecord:
    """Return the Event of a verdict; it names the next job if that gets the GPU first."""
    message = f"{judged.message}; {reload[2]}" if reload[1] == Reason.GPU_PASSED_ON else judged.message
    return EventRecord(judged.reason, message, judged.phase == Phase.FAILED, _next(view, reload))


def _next(view: TurnView, reload: status.Fact) -> dict[str, str]:
    """Return the annotation that names the next job."""
    return {ANNOTATION_NEXT_JOB: view.successor} if reload[1] == Reason.GPU_PASSED_ON else {}


def stop_live_pods(view: TurnView) -> Decision | None:
    """Stop a live pod, or wait until those that are ending have ended; None if none is live."""
    if not view.live_pods:
        return None
    running = next((pod for pod in view.live_pods if not pod.deleting or is_prolonged(view, pod)), None)
    return Decision.act(DeletePod(running) if running else None, requeue_after=POD_POLL)


def is_prolonged(view: TurnView, pod: TrainingPod) -> bool:
    """True for a pod whose deletion, by its tenant, allows more time than training pods get."""
    if pod.delete_by is None:
        return False
    return (parse_time(pod.delete_by) - view.now).total_seconds() > view.policy.grace_period + _SLACK


RULES: tuple[Rule, ...] = (
    pods_overstay, no_reload_pending, resident_is_missing, resident_is_loaded, hand_over_to_next_turn, load_resident,
)  # fmt: skip
