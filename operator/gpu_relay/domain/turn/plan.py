"""The plan of a turn: a chain of named rules, read from top to bottom; the first that returns a decision applies.

`RULES` and the rules of `acquisition` decide while a job owns the GPU, those of `workload_turn` while a Workload of
Kueue does, those of `handback` while the resident does. `python -m tools.turn_rules` draws the chains in
docs/architecture.md. Every rule decides by what was observed in this pass, so the operator can crash after any step and
continue (law 4).
"""

from dataclasses import replace

from gpu_relay.api import words
from gpu_relay.api.v1alpha1 import Attempt
from gpu_relay.api.words import TERMINAL_PHASES, YIELDED_REASONS, Phase, Reason
from gpu_relay.domain.decision import Decision, DeletePod, EventRecord, ReturnLease, Rule, Unload
from gpu_relay.domain.job import status, stop_reasons
from gpu_relay.domain.job.attempts import attempt_of, lost_attempt, results_of, verdict
from gpu_relay.domain.objects.lease import HOLDER_RESIDENT, GpuLease
from gpu_relay.domain.quantities import parse_time
from gpu_relay.domain.turn import acquisition, handback, training, workload_turn
from gpu_relay.domain.turn.acquisition import leased
from gpu_relay.domain.turn.handback import POD_POLL, stop_live_pods
from gpu_relay.domain.turn.lease_return import RETURN_POLL, has_trained, memory_is_back, return_lease, trained_until
from gpu_relay.domain.turn_view import TurnView

_ON_REQUEST = YIELDED_REASONS | {Reason.INTERRUPTED}


def plan(view: TurnView) -> Decision:
    """Decide the next step for one GPU.

    A turn does not end while its training pod may still appear (law 1).
    """
    rules = workload_turn.RULES if view.is_workloads else RULES
    if view.lease.holder == HOLDER_RESIDENT:
        rules = handback.RULES
    for rule in rules:
        decision = rule(view)
        if decision is not None:
            ends = isinstance(decision.action, ReturnLease)
            return (_waits_for_pods(view) if ends else None) or decision
    raise AssertionError("the last rule of each chain returns a decision in every case")


def _waits_for_pods(view: TurnView) -> Decision | None:
    """Keep the Lease while a pod of this turn may still appear, for a bounded time (law 9)."""
    if view.is_workloads:
        return workload_turn.pods_may_appear(view)
    return Decision.requeue(POD_POLL) if view.pod_may_appear and not has_trained(view) else None


def facts(lease: GpuLease) -> dict[str, str]:
    """Return the annotations of every Event of a turn."""
    return {words.LABEL_GPU: lease.gpu, words.ANNOTATION_NODE: lease.node, words.LABEL_FENCE: str(lease.fence)}


def owner_is_unreadable(view: TurnView) -> Decision | None:
    """Keep the training pod of a job that cannot be read (law 10), and record nothing.

    Without a live pod nothing renews the hold. When the hold has expired, return the Lease: other jobs need the GPU,
    and this job gets its next turn when it can be read again.
    """
    if not view.unreadable:
        return None
    if view.live_pods:
        loaded = any(each.report is not None and each.report.model_loaded for each in view.residents)
        runs = any(pod.fence == view.lease.fence and not pod.deleting for pod in view.live_pods)
        # The job may have asked to run beside the loaded resident. That cannot be read, so do not unload it.
        renewal = Unload() if runs and not loaded and view.hold_is_due else None
        return Decision.act(renewal, requeue_after=view.policy.progress_interval)
    if view.unreadable_for < view.policy.hold_ttl:
        return Decision.requeue(POD_POLL)
    return Decision.act(return_lease(view), requeue_after=0)


def owner_is_gone(view: TurnView) -> Decision | None:
    """Stop the pods of a deleted job, then return the Lease (laws 2 and 3)."""
    if view.job is not None:
        return None
    return stop_live_pods(view) or Decision.act(return_lease(view), requeue_after=0)


def turn_has_ended(view: TurnView) -> Decision | None:
    """Return the Lease after the recorded attempt, as soon as the memory is measured free."""
    job = view.job
    if job is None or view.attempt is None:
        return None
    stopping, stuck = stop_live_pods(view), training.outlived(view, job)
    if stopping is not None:
        return stopping if stuck is None else replace(stopping, job=job, status=stuck[0], events=(stuck[1],))
    attempt = job.status.attempts[-1]
    waited = (view.now - parse_time(attempt.completion_time)).total_seconds()
    # A crash may have prevented this Event. The handback publishes the Event of a verdict again.
    events = () if attempt.exit_code is None or job.status.phase in TERMINAL_PHASES else (_ended(attempt),)
    if not memory_is_back(view) and waited < view.policy.memory_return_timeout:
        return Decision(job=job, events=events, requeue_after=max(RETURN_POLL, view.policy.sample_interval))
    return Decision(action=_returned(view), job=job, events=events, requeue_after=0)


def pod_has_ended(view: TurnView) -> Decision | None:
    """Record the attempt of an ended pod, and return the Lease if the memory is already free.

    If the job has finished with that and another job gets the GPU first, write one status for all of it.
    """
    pod, job = view.own_pod, view.job
    if job is None or pod is None or pod.termination is None:
        return None
    attempt = attempt_of(job, pod, pod.termination, view.now)
    results = results_of(pod.termination) or job.status.results
    progress = training.final_progress(job, attempt, results)
    created, ended = training.created(view, job, pod), _ended(attempt)
    new = status.releasing(view, job, attempt, ended.message, progress=progress, results=results, pod=pod.name)
    if not memory_is_back(view) or view.live_pods:
        return Decision(job=job, status=new, events=(created, ended), requeue_after=0)
    done = replace(job, status=new)
    judged, step = verdict(done, view.now), _returned(replace(view, job=done))
    after = replace(view, lease=replace(view.lease, unused_since=step.unused_since))
    if judged.phase in TERMINAL_PHASES and step.resident_unloaded and handback.may_hand_over(after):
        fact = handback.handover_condition(view)
        return Decision(
            action=replace(step, handed_over=True),
            job=job,
            status=status.settled(done, view.now, judged, fact),
            events=(created, handback.verdict_event(view, judged, fact)),
            requeue_after=handback.handover_time_left(after),
        )
    return Decision(action=step, job=job, status=new, events=(created, ended), requeue_after=0)


def _ended(attempt: Attempt) -> EventRecord:
    failed = attempt.reason not in _ON_REQUEST | {Reason.COMPLETED}
    message = f"attempt {attempt.number} ended: {attempt.reason}: {attempt.message}"
    facts = {words.LABEL_ATTEMPT: str(attempt.number), words.ANNOTATION_OUTCOME: attempt.reason}
    return EventRecord(Reason.TRAINING_ENDED, message, warning=failed, facts=facts)


def pod_is_live(view: TurnView) -> Decision | None:
    """Renew the hold, record the progress, and stop the training pod for a cause."""
    pod, job = view.own_pod, view.job
    if job is None or pod is None:
        return None
    stops_in_time = pod.deleting and not handback.is_prolonged(view, pod)
    stop = None if stops_in_time else stop_reasons.cause(view, job, pod)
    if stop is None and training.is_about_to_start(view, pod):
        return Decision(
            job=job, events=(training.created(view, job, pod),), requeue_after=view.policy.progress_interval
        )
    new, events = training.followed(view, job, pod, stop)
    decision = Decision(job=job, status=new, events=events, requeue_after=view.policy.progress_interval)
    if stop is not None:
        return Decision(action=DeletePod(pod), job=job, status=new, events=events, requeue_after=POD_POLL)
    if pod.deleting:
        return decision
    if view.sharing is None and view.hold_is_due:
        return Decision(
            action=Unload(eta=training.eta(view)),
            job=job,
            status=new,
            events=events,
            requeue_after=view.policy.progress_interval,
        )
    return decision


def pod_is_lost(view: TurnView) -> Decision | None:
    """Record the attempt of a pod that the status names and a live LIST does not show."""
    job = view.job
    if (
        job is None
        or job.status.phase != Phase.TRAINING
        or job.status.turn is None
        or job.status.turn.fence != view.lease.fence
    ):
        return None
    reason, message = training.cause_of_loss(view, job)
    attempt = lost_attempt(job, view.lease, view.now, reason, message)
    new = status.releasing(view, job, attempt, f"attempt {attempt.number} ended: {message}")
    return Decision(
        job=job, status=new, events=(EventRecord(reason, message, warning=reason not in _ON_REQUEST),), requeue_after=0
    )


def turn_is_withdrawn(view: TurnView) -> Decision | None:
    """Return the GPU of a job that is suspended, deleted, preempted or past its deadline before it has a pod."""
    job = view.job
    stop = stop_reasons.withdrawn(view, job) if job is not None else None
    if job is None or stop is None:
        return None
    new = status.withdrawn(view, job, stop.reason, f"stopped before training began: {stop.message}")
    events = (leased(view.lease), EventRecord(stop.reason, stop.message))
    return Decision(action=return_lease(view), job=job, status=new, events=events, requeue_after=0)


RULES: tuple[Rule, ...] = (
    owner_is_unreadable, owner_is_gone, turn_has_ended, pod_has_ended, pod_is_live, pod_is_lost, turn_is_withdrawn,
    *acquisition.RULES,
)  # fmt: skip


def _returned(view: TurnView) -> ReturnLease:
    return return_lease(view, trained_until(view))
