"""The planner on a simulated GPU: each of its steps is checked against the laws, then applied."""

from dataclasses import replace
from datetime import timedelta

from gpu_relay.api.v1alpha1 import YoloTrainingJobStatus
from gpu_relay.api.words import COST_FREE_REASONS, FINAL_REASONS, YIELDED_REASONS, Phase, Reason
from gpu_relay.domain.decision import CreatePod, Decision, DeletePod, HandOver, Load, ReturnLease, SettleReload, Unload
from gpu_relay.domain.job.deadlines import deadline
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.lease import HOLDER_RESIDENT
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.objects.resident import Hold
from gpu_relay.domain.outage import idle_outage_left
from gpu_relay.domain.quantities import timestamp
from gpu_relay.domain.turn import plan as turn
from gpu_relay.domain.turn_view import TurnView
from tests.property.turn_simulation import NEED, POLICY, SimulatedTurn
from tests.support import builders
from tests.support.builders import FREE_MIB, KEY


class CheckedTurn(SimulatedTurn):
    """Plans, checks and applies; an AssertionError names the law that a step breaks."""

    def decide(self) -> tuple[TurnView, Decision]:
        """Observe, and return the view and the planner's decision."""
        self.now += timedelta(seconds=1)
        view = self.view()
        return view, turn.plan(view)

    def reconcile(self, *, step_is_lost: bool = False) -> None:
        """Decide, write the status, and apply the action unless the operator crashes before it."""
        view, decision = self.decide()
        assert not self.unreadable or decision.status is None, "the status of an unreadable job is not overwritten"
        if decision.status is not None and self.job is not None:
            self.judge(self.job, decision.status)
            self.job = replace(self.job, status=decision.status)
        if not step_is_lost:
            self.take(view, decision)

    def judge(self, job: Job, new: YoloTrainingJobStatus) -> None:
        """Check a new status against the one before it."""
        ends = deadline(job)
        settled = job.status.phase == Phase.RELEASING and new.phase == Phase.QUEUED
        assert not (settled and ends is not None and ends <= self.now), "no further attempt after the deadline"
        same = {(c.type, c.status): c.last_transition_time for c in job.status.conditions}
        for condition in new.conditions:
            since = same.get((condition.type, condition.status))
            assert since in {None, condition.last_transition_time}, "a transition time changes only with the status"
        if len(new.attempts) > len(job.status.attempts):
            self.expect_own_pod(new)
        if len(new.attempts) > len(job.status.attempts) and job.status.turn is not None:
            cause, word = job.status.turn.stopping, self.last_word()
            obeyed = cause in YIELDED_REASONS and word in {"", "Interrupted"}
            assert not obeyed or new.attempts[-1].reason == cause, "a stopped attempt has the cause as its reason"
        failures = sum(attempt.reason not in COST_FREE_REASONS for attempt in new.attempts)
        if new.phase == Phase.FAILED and failures <= job.spec.backoff_limit:
            last = new.attempts[-1].reason if new.attempts else None
            assert last in FINAL_REASONS or ends is not None, "only failures that count fail a job"

    def expect_own_pod(self, new: YoloTrainingJobStatus) -> None:
        """Check law 6: how an attempt ended is read from this turn's pod."""
        attempt = new.attempts[-1]
        assert attempt.fence == self.lease.fence
        if attempt.exit_code is not None:
            assert any(pod.name == attempt.pod and pod.fence == attempt.fence for pod in self.pods.values())

    def may_stop(self, pod: TrainingPod) -> None:
        """Check that a pod is stopped for a recorded cause, and preempted only where its job allows it."""
        if self.job is None or self.lease.holder != KEY.holder or pod.fence != self.lease.fence:
            return
        assert not self.unreadable, "law 10: the pod of an unreadable job is not stopped"
        turn_, attempts = self.job.status.turn, self.job.status.attempts
        if pod.job_uid != KEY.uid or any(attempt.fence == pod.fence for attempt in attempts):
            return
        assert turn_ is not None and turn_.stopping, "law 5: the cause is recorded before the pod is deleted"
        if turn_.stopping == Reason.QUOTA_WITHDRAWN:
            assert self.withdrawal
        if turn_.stopping == Reason.PREEMPTED:
            assert self.job.spec.preemptible
            assert self.preemptor is not None and self.preemptor.priority > self.job.spec.priority, (
                "only a job of higher priority preempts"
            )

    def expect_in_time(self, decision: Decision) -> None:
        """Check law 9: an outage that has lasted long enough is not prolonged without a live training pod."""
        over = idle_outage_left(self.lease, POLICY, self.now) <= 0
        if not over or self.live() or self.loaded:
            return
        assert not isinstance(decision.action, Unload | HandOver), "law 9: the outage continues without a training pod"
        assert not isinstance(decision.action, CreatePod), "law 9: a pod is created too late"
        assert not decision.measuring, "law 9: the wait for memory is too long"

    def take(self, view: TurnView, decision: Decision) -> None:
        """Check an action, and apply it."""
        self.expect_in_time(decision)
        match decision.action:
            case Unload():
                self.unload()
            case CreatePod(attempt, _, coresident, proven):
                self.create_pod(view, attempt, proven, coresident=coresident)
            case DeletePod(pod):
                self.may_stop(pod)
                self.pods[pod.name] = replace(pod, deleting=True)
            case ReturnLease(owed, _, handed_over, unused_since, _):
                assert not self.own(), "law 2: the Lease is returned after the job's pods have ended"
                assert not handed_over or self.successor, "law 3: a GPU is handed over to a waiting job"
                assert not handed_over or self.has_finished(), "only a finished job hands over in the same step"
                assert not handed_over or (owed and not self.loaded), "law 3: a hand-over keeps the reload pending"
                owed_to = self.lease.holder if owed else ""
                self.lease = replace(
                    self.lease,
                    holder=HOLDER_RESIDENT,
                    reload_pending=owed_to,
                    acquired=timestamp(self.now),
                    unused_since=unused_since,
                )
                self.forget()
            case Load():
                self.load()
            case HandOver():
                assert self.successor, "law 3: a GPU is handed over to a waiting job"
            case SettleReload():
                assert self.loaded, "law 3: a pending reload is settled by a load"
                self.lease = replace(self.lease, reload_pending="", unused_since=None)

    def unload(self) -> None:
        """Unload and hold the resident, where it answers."""
        assert self.lease.holder == KEY.holder, "law 5: the Lease comes before the unload"
        if self.reachable and self.resident_exists:
            self.was_unloaded = self.was_unloaded or self.loaded
            self.loaded = False
            self.hold = Hold(self.lease.holder, self.lease.fence, 60.0)

    def create_pod(self, view: TurnView, attempt: int, proven: int | None, *, coresident: bool) -> None:
        """Check laws 1, 2 and 6, and create the training pod."""
        assert self.lease.holder == KEY.holder
        assert not self.live(), "law 2: one live training pod on a GPU"
        assert view.resident is not None and view.resident.report is not None, "law 6: proven by a live measurement"
        assert view.resident.report.free_mib >= NEED, "law 1: the memory is free"
        samples = self.room if coresident else self.samples
        assert len(samples) >= POLICY.samples, "law 1: several samples"
        assert min(samples[-POLICY.samples :]) >= NEED + POLICY.margin_mib, "law 1: each sample is enough"
        assert coresident == self.loaded, "a pod runs beside the loaded resident only if that was measured"
        held = self.hold is not None and self.hold.fence == self.lease.fence
        assert coresident or held, "law 1: the resident is held for this turn"
        assert proven is not None and proven >= NEED, "law 1: the pod records the measured memory"
        name = f"digits-{attempt}"
        if coresident:
            self.beside.add(name)
        created = timestamp(self.now)
        self.pods[name] = builders.pod(name=name, uid=name, fence=self.lease.fence, created=created, proven_mib=proven)

    def load(self) -> None:
        """Check laws 2 and 5, and load the resident, where the memory is free."""
        assert self.lease.holder == HOLDER_RESIDENT, "law 5: the Lease is returned before the load"
        assert not self.live(), "law 2: no load beside a live training pod"
        self.hold = None
        if self.loaded or self.used() + self.model <= FREE_MIB:
            self.loaded, self.load_failed, self.failure = True, False, ""
        else:
            self.load_failed, self.failure = True, "503: not enough free memory"
