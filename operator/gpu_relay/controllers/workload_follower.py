"""What a reconcile of a GPU adds for a Workload's turn: what this process remembers, the check's message, Events."""

import logging
from dataclasses import dataclass, replace

from gpu_relay.clients.admission_checks import AdmissionCheckStore
from gpu_relay.clients.kube import KubeError
from gpu_relay.controllers.apply import Change
from gpu_relay.controllers.turn_state import TurnState
from gpu_relay.controllers.workload_pauses import WorkloadPauses
from gpu_relay.domain.decision import Decision, EvictWorkload, ReturnLease
from gpu_relay.domain.kueue.check import is_news
from gpu_relay.domain.objects.checked_workload import CheckedWorkload
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.turn import plan, workload_events
from gpu_relay.domain.turn.workload_turn import stop_reason
from gpu_relay.domain.turn_view import TurnView

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkloadFollower:
    """Follows the turns of Workloads."""

    checks: AdmissionCheckStore
    pauses: WorkloadPauses
    policy: Policy

    def completed(self, view: TurnView, state: TurnState) -> TurnView:
        """Return the view with what this process remembers of a Workload's turn."""
        state.was_ready = state.was_ready or view.is_ready
        # Kueue may evict a Workload and reserve its quota again between two reconciles.
        ended = state.unpinned_at is not None or (state.was_ready and not view.is_ready)
        view = replace(view, has_ended=ended)
        stopped = bool(stop_reason(view))
        state.represents = view.workload.represents if view.workload else state.represents
        may_appear = state.is_pin_effective()
        view = replace(view, is_pinned=state.is_pinned, pod_may_appear=may_appear)
        state.note_running(running=any(pod.waiting is None for pod in view.live_pods))
        if state.had_pod and not view.live_pods:
            state.clocks.start("return")
        state.note_workload(live=bool(view.live_pods), stopped=stopped)
        # The fence of a pod with several GPUs is that of one of them.
        own = (pod.proven_mib for pod in view.live_pods if pod.workload_uid == view.owner_uid)
        state.remembered_proof = next((proven for proven in own if proven is not None), state.remembered_proof)
        return replace(
            view,
            podless_for=state.seconds_since(state.podless_since),
            stopped_for=state.seconds_since(state.stopped_since),
            had_pod=state.had_pod,
            ran_for=state.ran_for,
            remembered_proof=state.remembered_proof,
            proven_others=tuple(each.recent_proof for each in state.companions if each.recent_proof is not None),
        )

    def change(self, view: TurnView, state: TurnState, decision: Decision) -> Change | None:
        """Return the Events of a Workload's turn, or of the reload after it; None if there are none."""
        subject = workload_events.subject_of(view, state.represents)
        events = workload_events.events_of(view, decision) if subject is not None else ()
        if subject is None or not events:
            return None
        return Change(subject, view.lease.fence, events=events, facts={**plan.facts(view.lease), **subject.facts})

    async def follow(self, workload: CheckedWorkload, state: TurnState, decision: Decision) -> None:
        """Show in the check what a Workload waits for, by one of its GPUs; hold it back if its turn ends without use.

        The message comes before a return of the Lease: it changes the Workload, so that a Ready of the same turn, by
        another process or without an answer yet, is refused.
        """
        entry, action = workload.entry, decision.action
        speaks = decision.note and (isinstance(action, ReturnLease) or state.is_first_unproven)
        if speaks and workload.is_asked and entry is not None and is_news(decision.note, entry.message):
            try:
                await self.checks.note(workload, decision.note)
            except KubeError as error:  # while Kueue is down, its webhook refuses writes: the turn continues without
                logger.info("the check of Workload %s keeps its message: %s", workload.key, error)
        if isinstance(action, ReturnLease) and decision.note:
            self.pauses.hold(workload.key.uid, decision.note)
        if isinstance(action, EvictWorkload) and action.pauses:
            self.pauses.hold(workload.key.uid, action.message)
