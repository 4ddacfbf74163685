"""The plan of a turn: a chain of named rules, read from top to bottom; the first that speaks decides.

::

    owner_is_gone ── stop its pods, return the Lease
    turn_is_over ─── memory back? return the Lease
    pod_has_ended ── record the attempt, pass on
    pod_is_live ──── keep the hold, follow, stop
    pod_is_lost ──── record the attempt
    turn_is_withdrawn
    resident_is_missing_or_mute ── unknown is not free
    fits_beside_resident ─ opt-in: no unload
    hold_is_missing ─ unload (law 5: the Lease came first)
    gpu_is_in_use ─── another trainer is live (law 2)
    memory_is_unproven ── sample (law 1)
    pod_was_refused ── record the attempt
    create_pod

While the resident owns the Lease the chain of `domain.handback` decides. Every rule of both judges by what was observed
in this pass, so the operator may die after any step and goes on (law 4).
"""

from dataclasses import replace

from gpu_relay.api.v1alpha1 import Attempt
from gpu_relay.api.words import TERMINAL_PHASES, YIELDED_REASONS, Phase, Reason
from gpu_relay.domain import follow, handback, status, stops
from gpu_relay.domain.handback import POD_POLL, RESIDENT_POLL, stop_live_pods
from gpu_relay.domain.model import HOLDER_RESIDENT, GpuLease, Job, TurnView
from gpu_relay.domain.outcome import attempt_of, lost_attempt, next_batch, results_of, verdict
from gpu_relay.domain.quantities import mib, parse_time
from gpu_relay.domain.steps import (
    CreatePod,
    Decision,
    DeletePod,
    Notice,
    RestartResident,
    ReturnLease,
    Rule,
    Unload,
)

_SOON = 1.0
_ON_REQUEST = YIELDED_REASONS | {Reason.INTERRUPTED}


def plan(view: TurnView) -> Decision:
    """Decide the next step for one GPU."""
    rules = handback.RULES if view.lease.holder == HOLDER_RESIDENT else RULES
    for rule in rules:
        decision = rule(view)
        if decision is not None:
            return decision
    raise AssertionError("the last rule of each chain always decides")


def leased(lease: GpuLease, then: str = "") -> Notice:
    """Tell that a job's turn has begun, and what comes first; told before that, whoever does it."""
    where = f"GPU {lease.gpu} on node {lease.node}" if lease.node else "a GPU without a resident"
    first = f"; {then}" if then else ""
    return Notice(Reason.GPU_LEASED, f"owns {where} under fence {lease.fence}{first}")


def owner_is_gone(view: TurnView) -> Decision | None:
    """The job was deleted: its pods end first, then the Lease goes back (laws 2 and 3)."""
    if view.job is not None:
        return None
    return stop_live_pods(view) or Decision(_return_lease(view), again_in=0)


def turn_is_over(view: TurnView) -> Decision | None:
    """The attempt of this turn is on record: return the Lease as soon as the memory is measured free again."""
    job = view.job
    if job is None or not any(attempt.fence == view.lease.fence for attempt in job.status.attempts):
        return None
    stopping = stop_live_pods(view)
    if stopping is not None:
        return stopping
    attempt = job.status.attempts[-1]
    waited = (view.now - parse_time(attempt.completion_time)).total_seconds()
    # Once more, lest a crash has swallowed it; a verdict is told again when the GPU goes where it is to go.
    told = () if attempt.exit_code is None or job.status.phase in TERMINAL_PHASES else (_ended(attempt),)
    if not _memory_is_back(view, job) and waited < view.policy.memory_return_timeout:
        return Decision(None, job, None, told, again_in=view.policy.sample_interval)
    return Decision(_return_lease(view), job, None, told, again_in=0)


def pod_has_ended(view: TurnView) -> Decision | None:
    """The training pod's containers have ended: record how, then the Lease goes back, if the memory is back already.

    Where the job is done with that and the next one goes first, nothing is left to wait for: one status says it all.
    """
    pod, job = view.own_pod, view.job
    if job is None or pod is None or pod.termination is None:
        return None
    attempt = attempt_of(job, pod, pod.termination, view.now)
    progress = follow.final_progress(job, attempt)
    results = results_of(pod.termination) or job.status.results
    created, ended = follow.created(view, job, pod), _ended(attempt)
    new = status.releasing(view, job, attempt, ended.message, progress=progress, results=results, pod=pod.name)
    if not _memory_is_back(view, job) or any(each.live for each in view.pods):
        return Decision(None, job, new, (created, ended), again_in=0)
    done = replace(job, status=new)
    judged, step = verdict(done, view.now), _return_lease(view)
    if judged.phase in TERMINAL_PHASES and step.resident_out and handback.goes_first(view):
        fact = handback.passed_on(view)
        passing = replace(step, passed_on=True)
        told = created, handback.judgement(judged, fact)
        return Decision(
            passing, job, status.settled(done, view.now, judged, fact), told, again_in=handback.patience(view)
        )
    return Decision(step, job, new, (created, ended), again_in=0)


def _ended(attempt: Attempt) -> Notice:
    failed = attempt.reason not in _ON_REQUEST | {Reason.COMPLETED}
    message = f"attempt {attempt.number} ended: {attempt.reason}: {attempt.message}"
    return Notice(Reason.TRAINING_ENDED, message, warning=failed)


def pod_is_live(view: TurnView) -> Decision | None:
    """The training pod lives: keep the resident's promise alive, follow the progress, stop it for a cause."""
    pod, job = view.own_pod, view.job
    if job is None or pod is None:
        return None
    stop = None if pod.deleting else stops.cause(view, job, pod)
    if stop is None and follow.is_about_to_start(view, pod):
        return Decision(None, job, None, (follow.created(view, job, pod),), again_in=view.policy.progress_interval)
    new, notices = follow.followed(view, job, pod, stop)
    decision = Decision(None, job, new, notices, again_in=view.policy.progress_interval)
    if pod.deleting:
        return decision
    if stop is not None:
        return Decision(DeletePod(pod), job, new, notices, again_in=POD_POLL)
    if not pod.coresident and _hold_needs_care(view):
        return Decision(Unload(eta=follow.eta(view)), job, new, notices, again_in=view.policy.progress_interval)
    return decision


def pod_is_lost(view: TurnView) -> Decision | None:
    """The status says that this turn had a pod, and a live LIST does not show it any more."""
    job = view.job
    if (
        job is None
        or job.status.phase != Phase.TRAINING
        or job.status.turn is None
        or job.status.turn.fence != view.lease.fence
    ):
        return None
    reason, message = follow.cause_of_loss(job, view.lease.fence)
    attempt = lost_attempt(job, view.lease.fence, view.now, reason, message)
    new = status.releasing(view, job, attempt, f"attempt {attempt.number} ended: {message}")
    return Decision(None, job, new, (Notice(reason, message, warning=reason not in _ON_REQUEST),), again_in=0)


def turn_is_withdrawn(view: TurnView) -> Decision | None:
    """Suspended, deleted, preempted or out of time before there was a pod."""
    job = view.job
    stop = stops.withdrawn(view, job) if job is not None else None
    if job is None or stop is None:
        return None
    new = status.withdrawn(view, job, stop.reason, f"stopped before training began: {stop.message}")
    notices = (leased(view.lease), Notice(stop.reason, stop.message))
    return Decision(_return_lease(view), job, new, notices, again_in=0)


def resident_is_missing_or_mute(view: TurnView) -> Decision | None:
    """No pod, or one that does not answer: its memory is unknown, and unknown is not free."""
    if not view.managed:
        return None
    if view.resident is None:
        if view.resident_missing_for > view.policy.resident_grace:
            return Decision(ReturnLease(reload_owed=True), again_in=0)
        return _acquiring(
            view, Reason.RESIDENT_MISSING, f"waits for the resident's pod on node {view.lease.node}", RESIDENT_POLL
        )
    if view.resident.report is None:
        mute = f"resident {view.resident} does not answer ({view.resident.error})"
        message = f"{mute}; its memory is unknown, so nothing starts"
        return _last_resort(view, mute) or _acquiring(
            view, Reason.RESIDENT_UNREACHABLE, message, RESIDENT_POLL, warning=True
        )
    return None


def fits_beside_resident(view: TurnView) -> Decision | None:
    """Opt-in: where as many samples show room beside the loaded resident, it need not be unloaded."""
    job = view.job
    if job is None or job.spec.gpu.sharing != "Coresident" or not view.room:
        return None
    if view.room[-1] < job.need_mib + view.policy.margin_mib:
        return None
    ahead = gpu_is_in_use(view) or pod_was_refused(view)
    if ahead is not None:
        return ahead
    if len(view.room) < view.policy.samples:
        return Decision(None, job, again_in=view.policy.sample_interval, measuring=True)
    message = f"{mib(view.room[-1])} of room beside the loaded resident, {mib(job.need_mib)} needed: no unload"
    proven = status.acquiring(view, job, Reason.MEMORY_PROVEN, message)
    step = CreatePod(job.next_attempt, next_batch(job), coresident=True, proven_mib=view.proven_free)
    return Decision(step, job, proven, (leased(view.lease, message),), again_in=_SOON)


def hold_is_missing(view: TurnView) -> Decision | None:
    """The resident has not yet promised to stay unloaded for this fence."""
    if not view.managed or view.job is None or _held(view):
        return None
    assert view.resident is not None
    if view.failure:
        last_resort = _last_resort(view, f"resident {view.resident}: {view.failure}")
        if last_resort is not None:
            return last_resort
        decision = _acquiring(
            view, Reason.RESIDENT_REFUSED, f"resident {view.resident}: {view.failure}; tries again", _SOON, warning=True
        )
        return Decision(Unload(), decision.job, decision.status, decision.notices, again_in=_SOON)
    free = view.free_before
    figures = "" if free is None else f": {mib(free)} free, {mib(view.job.need_mib)} needed"
    is_out = view.resident.report is not None and view.resident.report.held_under is not None
    message = f"asks resident {view.resident} to {'stay unloaded' if is_out else 'unload'}{figures}"
    asking = status.acquiring(view, view.job, Reason.UNLOADING_RESIDENT, message)
    return Decision(Unload(), view.job, asking, (leased(view.lease, message),), again_in=0)


def gpu_is_in_use(view: TurnView) -> Decision | None:
    """Another training pod is live on this GPU: stop what overstays, and wait."""
    others = [pod for pod in view.pods if pod.live]
    if not others:
        return None
    names = ", ".join(f"{pod.namespace}/{pod.name}" for pod in others)
    waiting = _acquiring(view, Reason.GPU_STILL_IN_USE, f"waits until {names} has left the GPU", POD_POLL, warning=True)
    overstaying = next((pod for pod in others if not pod.deleting), None)
    if overstaying is None:
        return waiting
    return Decision(DeletePod(overstaying), waiting.job, waiting.status, waiting.notices, again_in=POD_POLL)


def memory_is_unproven(view: TurnView) -> Decision | None:
    """Law 1: enough free memory in as many samples in a row as the policy demands."""
    job = view.job
    if not view.managed or job is None:
        return None
    needed = job.need_mib + view.policy.margin_mib
    enough = [free >= needed for free in view.samples[-view.policy.samples :]]
    if len(enough) == view.policy.samples and all(enough):
        return None
    unloaded = _unloaded(view)
    if not enough or enough[-1]:
        return Decision(None, job, None, unloaded, again_in=view.policy.sample_interval, measuring=True)
    message = (
        f"{mib(view.samples[-1])} free, {mib(job.need_mib)} and a margin of {mib(view.policy.margin_mib)} needed: "
        "something else holds the GPU's memory"
    )
    waiting = _acquiring(view, Reason.WAITING_FOR_MEMORY, message, _SOON, warning=True)
    return Decision(None, job, waiting.status, (*unloaded, *waiting.notices), again_in=_SOON)


def _unloaded(view: TurnView) -> tuple[Notice, ...]:
    """Tell what the resident has given up; nothing where it was out already, since the turn before."""
    if view.free_before is not None and view.samples and view.samples[-1] <= view.free_before + view.policy.margin_mib:
        return ()
    report = view.resident.report if view.resident else None
    known = f"the resident has unloaded; {mib(report.free_mib)} are free" if report else "the resident has unloaded"
    # The words of its own answer are lost with the process that asked it.
    return (Notice(Reason.RESIDENT_UNLOADED, view.unload_message or known),)


def pod_was_refused(view: TurnView) -> Decision | None:
    """The API server will not have the pod: a failed attempt, and the resident does not wait for a better one."""
    job = view.job
    if job is None or view.refusal is None:
        return None
    attempt = lost_attempt(job, view.lease.fence, view.now, view.refusal, view.failure)
    new = status.releasing(view, job, attempt, f"attempt {attempt.number} did not start: {view.failure}")
    return Decision(None, job, new, (Notice(view.refusal, view.failure, warning=True),), again_in=0)


def create_pod(view: TurnView) -> Decision | None:
    """All is proven: create the training pod, which carries the proof until the status does; the watch tells of it."""
    job = view.job
    assert job is not None
    step = CreatePod(job.next_attempt, next_batch(job), proven_mib=view.proven_free if view.managed else None)
    return Decision(step, job, None, (leased(view.lease),), again_in=_SOON)


RULES: tuple[Rule, ...] = (
    owner_is_gone, turn_is_over, pod_has_ended, pod_is_live, pod_is_lost, turn_is_withdrawn,
    resident_is_missing_or_mute, fits_beside_resident, hold_is_missing, gpu_is_in_use, memory_is_unproven,
    pod_was_refused, create_pod,
)  # fmt: skip


def _acquiring(view: TurnView, reason: Reason, message: str, again_in: float, *, warning: bool = False) -> Decision:
    assert view.job is not None
    notices = (leased(view.lease), Notice(reason, message, warning=warning))
    return Decision(None, view.job, status.acquiring(view, view.job, reason, message), notices, again_in)


def _last_resort(view: TurnView, why: str) -> Decision | None:
    """Opt-in: a resident that will not let go for long enough loses its pod; a new one starts unloaded."""
    limit, resident = view.policy.restart_resident_after, view.resident
    if not limit or view.unwilling_for < limit or resident is None or resident.external or resident.deleting:
        return None
    message = f"{why}, for {view.unwilling_for:.0f} s; its pod is deleted"
    restarted = _acquiring(view, Reason.RESIDENT_RESTARTED, message, RESIDENT_POLL, warning=True)
    return replace(restarted, step=RestartResident())


def _return_lease(view: TurnView) -> ReturnLease:
    report = view.resident.report if view.resident else None
    serves = report is not None and report.model_loaded and report.hold is None
    return ReturnLease(reload_owed=view.managed, resident_out=view.managed and not serves)


def _held(view: TurnView) -> bool:
    """True when the resident has unloaded and promised to stay so for this very turn."""
    report = view.resident.report if view.resident else None
    if report is None or report.hold is None or report.model_loaded or report.state != "unloaded":
        return False
    return report.hold.fence == view.lease.fence and report.hold.holder == view.lease.holder


def _hold_needs_care(view: TurnView) -> bool:
    """True when the hold is missing (the resident restarted) or a third of its ttl has passed."""
    report = view.resident.report if view.resident else None
    if not view.managed or report is None:
        return False
    return not _held(view) or (
        report.hold is not None and report.hold.expires_in_seconds < view.policy.hold_ttl * 2 / 3
    )


def _memory_is_back(view: TurnView, job: Job) -> bool:
    """True when as much is free as just before the training pod was created, give or take the margin."""
    report = view.resident.report if view.resident else None
    if not view.managed or (report is not None and report.model_loaded):
        return True
    before = status.gpu_of(view, job).free_after
    return report is not None and (before is None or report.free_mib >= before - view.policy.margin_mib)
