"""The plan of a hand-back: a chain of named rules for a GPU whose Lease is the resident's, read from top to bottom.

::

    pods_overstay ── stop them first (law 2)
    nothing_owed ─── at rest
    resident_is_missing ─ wait for its pod (law 3)
    resident_is_loaded ── settle the job, clear the debt
    next_turn_goes_first ─ while the outage is short
    load_resident
"""

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
_PASS_ON_LIMIT = timedelta(seconds=10)
"""Time in which the next job must have taken a GPU that is left to it; then the resident is loaded after all."""


def pods_overstay(view: TurnView) -> Decision | None:
    """A training pod without a turn: it ends before the resident loads (law 2)."""
    return stop_live_pods(view)


def no_reload_pending(view: TurnView) -> Decision | None:
    """At rest: the resident was never unloaded by a turn, or is back already."""
    return None if view.lease.reload_pending else Decision.wait()


def resident_is_missing(view: TurnView) -> Decision | None:
    """Its pod is gone: the debt stays in the Lease until a pod is back (law 3)."""
    if view.report is not None:
        return None
    reason = Reason.RESIDENT_MISSING if view.resident is None else Reason.RESIDENT_UNREACHABLE
    return _settle(
        view, None, ("False", reason, "the resident does not answer; it is loaded as soon as it does"), RESIDENT_POLL
    )


def resident_is_loaded(view: TurnView) -> Decision | None:
    """Loaded, and no hold of ours is left: the debt is paid."""
    report = view.report
    if report is None or not report.model_loaded:
        return None
    if any(each.report is not None and each.report.hold is not None for each in view.residents):
        return None
    message = f"{view.resident} is loaded again: {mib(report.used_mib)} used, {mib(report.free_mib)} free"
    return _settle(view, SettleReload(), ("True", Reason.RESIDENT_LOADED, message), 0)


def hand_over_to_next_turn(view: TurnView) -> Decision | None:
    """Somebody waits for the GPU, and the resident has not been out for too long: no reload for a moment's sake."""
    if not may_hand_over(view):
        return None
    left = handover_time_left(view)
    job, told = view.job, status.reload_of(view.job)
    if job is None or told is None or told[1] != Reason.GPU_PASSED_ON or job.status.phase == Phase.RELEASING:
        return _settle(view, HandOver(), handover_condition(view), left)
    # Who comes next may change until somebody has come: that is no news of this job.
    again = (verdict_event(view, verdict(job, view.now), told),) if job.status.phase in TERMINAL_PHASES else ()
    return Decision(action=HandOver(), job=job, events=again, requeue_after=left)


def handover_time_left(view: TurnView) -> float:
    """Seconds for which a GPU that is passed on waits to be taken; the scheduler tells where nobody comes any more."""
    lease = view.lease
    returned = parse_time(lease.acquired) if lease.acquired and lease.holder == HOLDER_RESIDENT else view.now
    out_since = view.outage_since or returned
    left = (min(returned + _PASS_ON_LIMIT, out_since + view.clocks.max_outage) - view.now).total_seconds()
    return min(left, view.idle_outage_left)


def may_hand_over(view: TurnView) -> bool:
    """True where a job waits for the GPU, and the resident may stay unloaded for another turn."""
    return bool(view.successor) and not view.load_failed and handover_time_left(view) > 0


def handover_condition(view: TurnView) -> status.Fact:
    """Say who has the GPU next, as the condition ResidentReloaded."""
    message = f"{view.successor} has the GPU next; the resident is loaded after it"
    return "False", Reason.GPU_PASSED_ON, message


def load_resident(view: TurnView) -> Decision | None:
    """Ask for the load; after a failure the job waits for it no longer, but the operator goes on trying for ever."""
    if not view.load_failed:
        return Decision.act(Load(), requeue_after=0)
    fact: status.Fact = ("False", Reason.RESIDENT_LOAD_FAILED, f"{view.resident}: {view.failure}; tries again")
    return _settle(view, Load(), fact, RESIDENT_POLL)


def _settle(
    view: TurnView, step: SettleReload | Load | HandOver | None, reload: status.Fact, requeue_after: float
) -> Decision:
    """Pay or note the debt, and let the job that caused it go where its attempts send it."""
    job = view.job
    if job is None or _has_moved_on(view, job):
        return Decision.act(step, requeue_after=requeue_after)
    passes_on = reload[1] == Reason.GPU_PASSED_ON
    gone = EventRecord(reload[1], reload[2], reload[0] == "False" and not passes_on, _next(view, reload))
    if job.status.phase not in TERMINAL_PHASES | {Phase.RELEASING, Phase.SUSPENDED}:
        return Decision(
            action=step,
            job=job,
            status=status.with_reload(job, view.now, reload),
            events=(gone,),
            requeue_after=requeue_after,
        )
    judged = verdict(job, view.now)
    new = status.settled(job, view.now, judged, reload)
    if job.status.phase == Phase.SUSPENDED or judged.phase == Phase.QUEUED:
        return Decision(action=step, job=job, status=new, events=(gone,), requeue_after=requeue_after)
    told = verdict_event(view, judged, reload)
    return Decision(
        action=step, job=job, status=new, events=(told,) if passes_on else (gone, told), requeue_after=requeue_after
    )


def _has_moved_on(view: TurnView, job: Job) -> bool:
    """True for a job whose present or last turn is another one: its status is not about this GPU any longer (law 8)."""
    present, attempts = job.status.turn, job.status.attempts
    if job.status.phase in {Phase.ACQUIRING, Phase.TRAINING}:
        return True
    if present is not None:
        return not view.is_this_turn(present.fence, present.gpu)
    if job.status.phase == Phase.RELEASING or not attempts:
        return False
    return not view.is_this_turn(attempts[-1].fence, attempts[-1].gpu)


def verdict_event(view: TurnView, judged: Verdict, reload: status.Fact) -> EventRecord:
    """Tell a verdict, and in the same breath who has the GPU next: both happen at once."""
    message = f"{judged.message}; {reload[2]}" if reload[1] == Reason.GPU_PASSED_ON else judged.message
    return EventRecord(judged.reason, message, judged.phase == Phase.FAILED, _next(view, reload))


def _next(view: TurnView, reload: status.Fact) -> dict[str, str]:
    """Name the job that has the GPU next, for programs."""
    return {ANNOTATION_NEXT_JOB: view.successor} if reload[1] == Reason.GPU_PASSED_ON else {}


def stop_live_pods(view: TurnView) -> Decision | None:
    """Tell a live pod to stop, or wait until those that were told have ended; None where none is live."""
    if not view.live_pods:
        return None
    running = next((pod for pod in view.live_pods if not pod.deleting or is_prolonged(view, pod)), None)
    return Decision.act(DeletePod(running) if running else None, requeue_after=POD_POLL)


def is_prolonged(view: TurnView, pod: TrainingPod) -> bool:
    """True for a pod whose deletion grants it more time than training pods get: its namespace's owner chose it."""
    if pod.delete_by is None:
        return False
    return (parse_time(pod.delete_by) - view.now).total_seconds() > view.policy.grace_period + _SLACK


RULES: tuple[Rule, ...] = (
    pods_overstay, no_reload_pending, resident_is_missing, resident_is_loaded, hand_over_to_next_turn, load_resident,
)  # fmt: skip
