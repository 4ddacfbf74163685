"""The rules of a turn before it has a training pod: unload every resident, prove free memory, create the pod.

A turn without a training pod ends after a bounded time, for any cause (law 9).
"""

from dataclasses import replace

from gpu_relay.api.words import Reason
from gpu_relay.domain.decision import CreatePod, Decision, DeletePod, EventRecord, RestartResident, Rule, Unload
from gpu_relay.domain.job import status
from gpu_relay.domain.job.attempts import lost_attempt, next_batch
from gpu_relay.domain.objects.demand import Demand
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.quantities import mib
from gpu_relay.domain.queue.candidate import Candidate, too_full
from gpu_relay.domain.turn.handback import POD_POLL, RESIDENT_POLL, is_prolonged
from gpu_relay.domain.turn.lease_return import RETURN_POLL, memory_is_back, return_lease
from gpu_relay.domain.turn_view import TurnView

_SOON = 1.0
TRAINING_CONTEXT_MIB = 500
"""The most that a CUDA context takes besides what the job requests; a loaded resident must not lack it."""


def leased(lease: GpuLease, then: str = "") -> EventRecord:
    """Return the Event of the beginning of a turn, with its first step; every rule that may be first publishes it."""
    gpu = f"GPU {lease.gpu} on node {lease.node}" if lease.node else "a GPU without a resident"
    return EventRecord(Reason.GPU_LEASED, f"{gpu} assigned{f'; {then}' if then else ''}")


def idle_outage_is_exhausted(view: TurnView) -> Decision | None:
    """End a turn that has had no training pod for too long, for any cause (law 9)."""
    if not view.managed or view.live_pods or view.idle_outage_left > 0:
        return None
    return _end_without_pod(view, *_obstacle(view))


def resident_is_missing_or_silent(view: TurnView) -> Decision | None:
    """Wait for a resident without a pod or an answer: its memory is unknown, not free (law 10)."""
    if not view.managed:
        return None
    if view.resident is None:
        message = f"no resident pod is on node {view.lease.node}"
        if view.resident_missing_for > view.policy.resident_grace:
            return _end_without_pod(view, Reason.RESIDENT_MISSING, message)
        return _acquiring(view, Reason.RESIDENT_MISSING, f"{message}; waits for it", RESIDENT_POLL)
    silent = view.silent_resident
    if silent is None:
        return None
    silence = f"resident {silent} does not answer ({silent.error})"
    message = f"{silence}; its memory is unknown, so nothing starts"
    last_resort = _last_resort(view, silence)
    if last_resort is not None:
        return last_resort
    if view.silent_for > max(view.policy.resident_grace, view.policy.restart_resident_after):
        return _end_without_pod(view, Reason.RESIDENT_UNREACHABLE, message)
    return _acquiring(view, Reason.RESIDENT_UNREACHABLE, message, RESIDENT_POLL, warning=True)


def fits_beside_resident(view: TurnView) -> Decision | None:
    """Start beside the loaded resident if the job allows it and enough samples show room."""
    job = view.job
    if job is None or job.spec.gpu.sharing != "Coresident" or not view.room or view.others:
        return None
    if view.room[-1] < job.need_mib + max(view.policy.margin_mib, TRAINING_CONTEXT_MIB):
        return None
    ahead = gpu_is_in_use(view)
    if ahead is not None:
        return ahead
    if len(view.room) < view.policy.samples:
        return Decision(job=job, requeue_after=view.policy.sample_interval, measuring=True)
    step = CreatePod(job.next_attempt, next_batch(job), coresident=True, proven_mib=view.proven_free)
    if view.refusal is not None:
        return _refused(view, view.refusal, step)
    message = f"{mib(view.room[-1])} free beside the loaded resident, {mib(job.need_mib)} needed: no unload"
    proven = status.acquiring(view, job, Reason.MEMORY_PROVEN, message, sharing="Coresident")
    return Decision(action=step, job=job, status=proven, events=(leased(view.lease, message),), requeue_after=_SOON)


def unload_is_futile(view: TurnView) -> Decision | None:
    """End the turn before an unload that would not help: other processes hold the memory (law 9).

    The scheduler has checked the same; memory may be taken, or the operator restart, before the resident is asked.
    """
    demand, report = view.demand, view.report
    if demand is None or report is None or not report.model_loaded or report.hold is not None:
        return None
    if view.others or view.live_pods:  # what they hold is theirs to return
        return None
    candidate = Candidate(view.lease.gpu, view.resident, None, context_mib=view.context_mib)
    full = too_full(demand, candidate, view.policy)
    return _end_without_pod(view, *full) if full is not None else None


def hold_is_missing(view: TurnView) -> Decision | None:
    """Place or renew the hold on every resident, which unloads it (law 5: the Lease was written first)."""
    demand = view.demand
    if not view.managed or demand is None:
        return None
    if view.held:
        soon = _SOON if view.failure else 0
        return Decision(action=Unload(), job=view.job, requeue_after=soon) if view.hold_is_due else None
    if view.failure:
        last_resort = _last_resort(view, f"resident {view.resident}: {view.failure}")
        if last_resort is not None:
            return last_resort
        decision = _acquiring(
            view, Reason.RESIDENT_REFUSED, f"resident {view.resident}: {view.failure}; tries again", _SOON, warning=True
        )
        return replace(decision, action=Unload())
    free = view.free_before
    figures = "" if free is None else f" ({mib(free)} free, {mib(demand.need_mib)} needed)"
    unloaded = all(each.report is not None and each.report.held_under is not None for each in view.residents)
    names = ", ".join(map(str, view.residents))
    message = f"asking resident {names} to {'stay unloaded' if unloaded else 'unload'}{figures}"
    asking = _acquiring(view, Reason.UNLOADING_RESIDENT, message, 0)
    if view.job is None:
        return replace(asking, action=Unload())
    return replace(asking, action=Unload(), events=(leased(view.lease, message), *_several(view)))


def _several(view: TurnView) -> tuple[EventRecord, ...]:
    """Return a warning if several residents are on a GPU that has room for one."""
    if not view.others:
        return ()
    names = ", ".join(map(str, view.residents))
    message = f"residents {names} all report GPU {view.lease.gpu}; all are held. Scale to one resident for each GPU"
    return (EventRecord(Reason.MULTIPLE_RESIDENTS, message, warning=True),)


def gpu_is_in_use(view: TurnView) -> Decision | None:
    """Wait until no other training pod is live on this GPU, and stop those that are not ending (law 2)."""
    others = view.live_pods
    if not others:
        return None
    names = ", ".join(f"{pod.namespace}/{pod.name}" for pod in others)
    waiting = _acquiring(view, Reason.GPU_STILL_IN_USE, f"waits until {names} has ended", POD_POLL, warning=True)
    overstaying = next((pod for pod in others if not pod.deleting or is_prolonged(view, pod)), None)
    if overstaying is None:
        return waiting
    return replace(waiting, action=DeletePod(overstaying))


def memory_is_unproven(view: TurnView) -> Decision | None:
    """Take samples until enough of them in a row show enough free memory (law 1)."""
    job, demand = view.job, view.demand
    if not view.managed or demand is None:
        return None
    needed = demand.need_mib + view.policy.margin_mib
    enough = [free >= needed for free in view.samples[-view.policy.samples :]]
    if len(enough) == view.policy.samples and all(enough):
        return None
    unloaded = _unloaded(view)
    if not enough or enough[-1]:
        return Decision(job=job, events=unloaded, requeue_after=view.policy.sample_interval, measuring=True)
    waiting = _acquiring(view, Reason.WAITING_FOR_MEMORY, _shortage(view, demand), _SOON, warning=True)
    return replace(waiting, events=(*unloaded, *waiting.events))


def _shortage(view: TurnView, demand: Demand) -> str:
    free = view.samples[-1] if view.samples else 0
    return (
        f"{mib(free)} free, {mib(demand.need_mib)} and a margin of {mib(view.policy.margin_mib)} needed: other "
        f"processes hold the GPU's memory (nvidia-smi on node {view.lease.node} lists them)"
    )


def _unloaded(view: TurnView) -> tuple[EventRecord, ...]:
    """Return the Event of the unload; none if the resident has been unloaded since an earlier turn."""
    if view.free_before is not None and view.samples and view.samples[-1] <= view.free_before + view.policy.margin_mib:
        return ()
    free = f"; {mib(view.report.free_mib)} are free" if view.report else ""
    # A process that did not ask for the unload does not know the resident's answer.
    return (EventRecord(Reason.RESIDENT_UNLOADED, view.unload_message or f"the resident has unloaded{free}"),)


def create_pod(view: TurnView) -> Decision | None:
    """Create the training pod; it carries the proof of the free memory until the status does."""
    job = view.job
    assert job is not None
    step = CreatePod(job.next_attempt, next_batch(job), proven_mib=view.proven_free if view.managed else None)
    if view.refusal is not None:
        return _refused(view, view.refusal, step)
    return Decision(action=step, job=job, events=(leased(view.lease),), requeue_after=_SOON)


def _refused(view: TurnView, reason: Reason, step: CreatePod) -> Decision:
    """Retry a pod that the API server refused, for a limited time, then end the turn."""
    job = view.job
    assert job is not None
    if view.refused_for > view.policy.start_failure_timeout:
        return _end_without_pod(view, reason, view.failure)
    message = f"{view.failure}; tries again"
    sharing: status.Sharing = "Coresident" if step.coresident else None
    new = status.acquiring(view, job, reason, message, sharing=sharing)
    return Decision(
        action=step,
        job=job,
        status=new,
        events=(leased(view.lease), EventRecord(reason, message, warning=True)),
        requeue_after=_SOON,
    )


def _acquiring(
    view: TurnView, reason: Reason, message: str, requeue_after: float, *, warning: bool = False
) -> Decision:
    if view.job is None:
        return Decision(note=message, requeue_after=requeue_after)
    events = (leased(view.lease), EventRecord(reason, message, warning=warning))
    return Decision(
        job=view.job,
        status=status.acquiring(view, view.job, reason, message),
        events=events,
        requeue_after=requeue_after,
    )


def _last_resort(view: TurnView, why: str) -> Decision | None:
    """Delete the pod of a resident that does not unload, if the settings allow it; a new pod starts unloaded."""
    limit, resident = view.policy.restart_resident_after, view.resident
    stuck_for = max(view.unwilling_for, view.silent_for)
    if not limit or stuck_for < limit or resident is None or resident.external or resident.deleting:
        return None
    message = f"{why}, for {stuck_for:.0f} s; its pod is deleted"
    restarted = _acquiring(view, Reason.RESIDENT_RESTARTED, message, RESIDENT_POLL, warning=True)
    return replace(restarted, action=RestartResident())


def _obstacle(view: TurnView) -> tuple[Reason, str]:
    """Return why a turn has had no training pod."""
    silent = view.silent_resident
    if view.managed and view.resident is None:
        return Reason.RESIDENT_MISSING, f"no resident pod is on node {view.lease.node}"
    if silent is not None:
        return Reason.RESIDENT_UNREACHABLE, f"resident {silent} does not answer ({silent.error})"
    if view.refusal is not None:
        return view.refusal, view.failure
    if view.managed and not view.held:
        return Reason.RESIDENT_REFUSED, f"resident {view.resident} has not unloaded: {view.failure or 'no answer yet'}"
    assert view.demand is not None
    if memory_is_unproven(view) is None:
        return Reason.WAITING_FOR_MEMORY, "its other GPUs are not free yet"
    return Reason.WAITING_FOR_MEMORY, _shortage(view, view.demand)


def _end_without_pod(view: TurnView, reason: Reason, message: str) -> Decision:
    """Record a turn that had no pod, which costs no attempt; then the Lease is returned, and the job pauses."""
    job = view.job
    if job is None:
        if view.had_pod and not memory_is_back(view) and view.podless_for < view.policy.memory_return_timeout:
            return Decision.requeue(RETURN_POLL)
        return Decision(action=return_lease(view), note=f"has lost its GPU: {message}", requeue_after=0)
    attempt = lost_attempt(job, view.lease, view.now, reason, message)
    new = status.releasing(view, job, attempt, f"returns the GPU before training began: {message}")
    return Decision(
        job=job, status=new, events=(leased(view.lease), EventRecord(reason, message, warning=True)), requeue_after=0
    )


PROOF: tuple[Rule, ...] = (
    idle_outage_is_exhausted, resident_is_missing_or_silent, unload_is_futile, hold_is_missing, gpu_is_in_use,
    memory_is_unproven,
)  # fmt: skip
"""The rules before any pod, of whichever owner: what they let pass has a GPU whose memory is proven free."""
RULES: tuple[Rule, ...] = (fits_beside_resident, *PROOF, create_pod)
