"""The planner against a simulated cluster: whatever fails, dies or is deleted, the laws hold and all turns end.

A small model of the world (Lease, resident, pods, job) applies the planner's steps as the effects would. Hypothesis
interleaves them with faults: lost steps, a restarted operator, a restarted or mute resident, ended and lost pods.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gpu_relay.api.v1alpha1 import YoloTrainingJobSpec, YoloTrainingJobStatus
from gpu_relay.api.words import COST_FREE_REASONS, FINAL_REASONS, TERMINAL_PHASES, YIELDED_REASONS, Phase, Reason
from gpu_relay.domain.decision import CreatePod, Decision, DeletePod, HandOver, Load, ReturnLease, SettleReload, Unload
from gpu_relay.domain.job.deadlines import deadline
from gpu_relay.domain.job.pod_failures import is_start_failure
from gpu_relay.domain.objects.job import Job, JobKey
from gpu_relay.domain.objects.lease import HOLDER_RESIDENT, GpuLease
from gpu_relay.domain.objects.pod import Termination, TrainingPod
from gpu_relay.domain.objects.resident import GpuReport, Hold, Resident
from gpu_relay.domain.outage import idle_outage_left
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.quantities import parse_time, timestamp
from gpu_relay.domain.turn import plan as turn
from gpu_relay.domain.turn_view import Preemptor, TurnView

TOTAL, RESERVED, MODEL, NEED = 15360, 450, 14000, 10240
SMALL_MODEL = 4000
"""A resident beside which the job fits."""
KEY = JobKey("vision", "digits", "uid-1")
POLICY = Policy(memory_return_timeout=5)
SPEC = {
    "model": "yolo26n.yaml",
    "dataset": {"persistentVolumeClaim": {"claimName": "data"}},
    "output": {"persistentVolumeClaim": {"claimName": "results"}},
}
MOSTLY = st.sampled_from([True] * 7 + [False])
"""Faults are rarer than work, or no turn would ever get far enough to break a law."""


def disturbance(**given: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A rule after which the operator looks a few times: most time passes without a further one."""

    def with_looks(method: Callable[..., None]) -> Callable[..., None]:
        def disturbed(self: "Turn", looks: int, **drawn: Any) -> None:
            method(self, **drawn)
            for _ in range(looks):
                self.dispatch_if_free()
                self.reconcile()

        disturbed.__name__ = method.__name__
        as_rule: Any = rule(looks=st.integers(0, 8), **given)
        return cast("Callable[..., None]", as_rule(disturbed))

    return with_looks


class Turn(RuleBasedStateMachine):
    """One job, one GPU, one resident; the job's turn is taken again whenever it is back in the queue."""

    @initialize(
        foreign=st.sampled_from([0, 0, 3000]),
        loaded=st.booleans(),
        model=st.sampled_from([MODEL, MODEL, SMALL_MODEL]),
        sharing=st.sampled_from(["Exclusive", "Coresident"]),
        preemptible=st.booleans(),
        active=st.sampled_from([None, None, 60]),
    )
    def begin(
        self, foreign: int, loaded: bool, model: int, sharing: str, preemptible: bool, active: int | None
    ) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        spec = {
            **SPEC,
            "gpu": {"memory": "10Gi", "sharing": sharing},
            "preemptible": preemptible,
            "activeDeadlineSeconds": active,
        }
        self.loaded = loaded
        self.hold: Hold | None = None
        self.foreign, self.trainer = (0 if loaded else foreign), 0
        self.resident_exists = self.reachable = True
        self.pods: dict[str, TrainingPod] = {}
        self.beside: set[str] = set()
        """Pods that were created beside the loaded resident."""
        self.job: Job | None = Job(
            KEY, 1, "1", timestamp(self.now), False, YoloTrainingJobSpec.model_validate(spec), YoloTrainingJobStatus()
        )
        self.lease = GpuLease("gpu-1", "1", "gpu-1", HOLDER_RESIDENT, 0, None, "", "node-1", "")
        self.was_unloaded = False
        self.successor, self.model = "", model
        self.preemptor: Preemptor | None = None
        self.node_trouble = self.withdrawal = self.unreadable = ""
        self.unreadable_since: datetime | None = None
        self.forget()

    # what people, the cluster and bad luck do

    @rule(steps=st.integers(1, 10))
    def operate(self, steps: int) -> None:
        for _ in range(steps):
            self.dispatch_if_free()
            self.reconcile()

    @rule()
    def die_before_the_step(self) -> None:
        """The status is written, the step is not taken, and the next process remembers nothing."""
        self.reconcile(step_is_lost=True)
        self.forget()

    @rule()
    def die_before_the_status(self) -> None:
        self.decide()
        self.forget()

    @disturbance()
    def resident_restarts(self) -> None:
        self.loaded, self.hold = False, None

    @disturbance()
    def hold_is_of_another_turn(self) -> None:
        """The resident stays unloaded for the turn before, which proves nothing for how long."""
        if not self.loaded:
            self.hold = Hold("vision/other/uid-2", self.lease.fence - 1, 60.0)

    @disturbance(waits=st.booleans())
    def another_job(self, waits: bool) -> None:
        """Somebody waits for the GPU, and may or may not come for it."""
        self.successor = "vision/other" if waits else ""

    @disturbance(priority=st.sampled_from([None, None, 0, 5]))
    def a_job_of_some_priority_waits(self, priority: int | None) -> None:
        """The scheduler names one that would have this GPU; the plan alone decides whether the owner yields."""
        self.preemptor = None if priority is None else Preemptor("vision/urgent", priority)

    @disturbance(admits=MOSTLY)
    def kueue(self, admits: bool) -> None:
        self.withdrawal = "" if admits else "Kueue has withdrawn the quota"

    @disturbance(seconds=st.integers(1, 60))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @disturbance(well=MOSTLY)
    def node(self, well: bool) -> None:
        self.node_trouble = "" if well else "node node-1 is not ready"

    @disturbance(word=st.sampled_from(["ErrImagePull", "Unschedulable", "ContainerCreating"]))
    def pod_does_not_start(self, word: str) -> None:
        for name, pod in self.pods.items():
            if pod.termination is None and not self.trainer and name != "stray-1":
                self.pods[name] = replace(pod, phase="Pending", waiting=f"{word}: …", waiting_reason=word)

    @disturbance(word=st.sampled_from(["EvictionByEvictionAPI", "DeletionByTaintManager"]))
    def cluster_takes_the_pod_away(self, word: str) -> None:
        for name, pod in self.pods.items():
            if pod.live:
                self.pods[name] = replace(pod, deleting=True, disruption=word, delete_by=timestamp(self.now))

    @disturbance(reachable=MOSTLY)
    def network(self, reachable: bool) -> None:
        self.reachable = reachable

    @disturbance(exists=MOSTLY)
    def resident_pod(self, exists: bool) -> None:
        self.resident_exists = exists
        if not exists:
            self.loaded, self.hold = False, None

    @disturbance(foreign=st.sampled_from([0, 0, 0, 3000, 6000]))
    def foreign_memory(self, foreign: int) -> None:
        """Somebody else's memory; where it comes after the proof, the trainer's own preflight is what helps."""
        if not self.own() and self.used() - self.foreign + foreign <= TOTAL - RESERVED:
            self.foreign = foreign

    @disturbance()
    def trainer_allocates(self) -> None:
        """A pod's process takes its memory: by law 1 and law 2 there must be room."""
        running = [name for name in self.own() if self.can_train(self.pods[name])]
        if running and not self.trainer:
            self.trainer = NEED

    @disturbance(
        reason=st.sampled_from(["Completed", "Error", "OutOfMemory", "Interrupted", "DatasetInvalid", ""]),
        killed=st.sampled_from(["", "", "OOMKilled", "Evicted"]),
        alone=MOSTLY,
    )
    def trainer_ends(self, reason: str, killed: str = "", *, alone: bool = True) -> None:
        """The trainer ends; where it is not alone, a sidecar keeps its pod, and the pod's share of the GPU."""
        for name, pod in self.pods.items():
            if pod.termination is None:
                word = {"reason": reason, "message": "m", "epoch": 1} if reason else {}
                ended = Termination(
                    0 if reason == "Completed" else 1, killed, word, None, timestamp(self.now), pod_reason=killed
                )
                phase = "Failed" if alone else "Running"
                self.pods[name] = replace(pod, phase=phase, termination=ended, waiting=None, outlived=not alone)
                self.trainer = 0

    @disturbance()
    def sidecars_end(self) -> None:
        for name, pod in self.pods.items():
            if pod.outlived:
                self.pods[name] = replace(pod, phase="Failed", outlived=False)

    @disturbance()
    def pod_is_lost(self) -> None:
        self.pods.clear()
        self.trainer = 0

    @disturbance()
    def kubelet_deletes(self) -> None:
        for name in [name for name, pod in self.pods.items() if pod.deleting]:
            del self.pods[name]
            self.trainer = 0

    @disturbance(absent=st.booleans())
    def stray_pod(self, absent: bool) -> None:
        """A live training pod that no turn knows: its job's Lease was taken away by hand."""
        if not absent and not self.trainer and not self.loaded:
            self.pods["stray-1"] = TrainingPod(
                "vision", "stray-1", "stray", "uid-0", "gpu-1", 0, "Running",
                "10.0.0.2", False, timestamp(self.now), None, None,
            )  # fmt: skip

    @disturbance(runs=MOSTLY)
    def user_suspends(self, runs: bool) -> None:
        if self.job is not None:
            self.job = replace(self.job, spec=self.job.spec.model_copy(update={"suspend": not runs}))

    @disturbance(keeps=MOSTLY)
    def user_deletes(self, keeps: bool) -> None:
        if not keeps:
            self.job = None

    @disturbance(well=MOSTLY)
    def job_is_read(self, well: bool) -> None:
        """Another version writes a value into the job that this one does not know, or takes it out again."""
        self.unreadable = "" if well else "spec.task is 'depth'"
        if not well:
            self.unreadable_since = self.unreadable_since or self.now

    # the effects

    def dispatch_if_free(self) -> None:
        """The scheduler's part: a queued job takes the Lease of a GPU that is at rest."""
        job, lease = self.job, self.lease
        if job is None or self.unreadable or job.spec.suspend or self.withdrawal:
            return
        if lease.holder != HOLDER_RESIDENT or lease.reload_pending:
            return
        if job.status.phase in {None, Phase.QUEUED, Phase.ACQUIRING, Phase.TRAINING, Phase.SUSPENDED}:
            now = timestamp(self.now)
            self.lease = replace(lease, holder=KEY.holder, fence=lease.fence + 1, acquired=now, unused_since=now)
            self.forget()

    def forget(self) -> None:
        self.samples: tuple[int, ...] = ()
        self.room: tuple[int, ...] = ()
        self.failure, self.load_failed = "", False

    def used(self) -> int:
        return (self.model if self.loaded else 0) + self.foreign + self.trainer

    def live(self) -> list[str]:
        return [name for name, pod in self.pods.items() if pod.termination is None or pod.outlived]

    @staticmethod
    def can_train(pod: TrainingPod) -> bool:
        return pod.waiting is None and pod.termination is None

    def own(self) -> list[str]:
        return [name for name in self.live() if name != "stray-1"]

    def view(self) -> TurnView:
        resident = None
        if self.resident_exists:
            report = GpuReport(
                "GPU-1", "T4", TOTAL, RESERVED, self.used(), TOTAL - RESERVED - self.used(), self.model,
                self.loaded, "loaded" if self.loaded else "unloaded", self.hold,
            )  # fmt: skip
            resident = Resident(
                "gpu-relay", "sam3", "u", "node-1", "http://sam3", {}, report if self.reachable else None
            )
        if resident is not None and resident.report is not None and self.hold is not None and not self.loaded:
            self.samples = (*self.samples[-POLICY.samples :], resident.report.free_mib)
        else:
            self.samples = ()
        beside = resident is not None and resident.report is not None and self.hold is None and self.loaded
        self.room = (*self.room[-POLICY.samples :], TOTAL - RESERVED - self.used()) if beside else ()
        return TurnView(
            now=self.now,
            policy=POLICY,
            lease=self.lease,
            resident=resident,
            job=None if self.unreadable else self.job,
            unreadable=self.unreadable if self.job is not None else "",
            unreadable_for=(self.now - (self.unreadable_since or self.now)).total_seconds(),
            pods=tuple(self.pods.values()),
            samples=self.samples,
            room=self.room,
            successor=self.successor,
            preemptor=self.preemptor,
            node_trouble=self.node_trouble,
            withdrawal=self.withdrawal,
            start_failing_for=self.start_failing_for(),
            failure=self.failure,
            load_failed=self.load_failed,
        )

    def decide(self) -> tuple[TurnView, Decision]:
        self.now += timedelta(seconds=1)
        view = self.view()
        return view, turn.plan(view)

    def start_failing_for(self) -> float:
        """Seconds since a pod was made that fails to start: the operator's own clock runs from its first look."""
        failing = [parse_time(pod.created) for pod in self.pods.values() if is_start_failure(pod)]
        return max(((self.now - created).total_seconds() for created in failing), default=0.0)

    def reconcile(self, *, step_is_lost: bool = False) -> None:
        view, decision = self.decide()
        assert not self.unreadable or decision.status is None, "what cannot be read is not overwritten"
        if decision.status is not None and self.job is not None:
            self.judge(self.job, decision.status)
            self.job = replace(self.job, status=decision.status)
        if not step_is_lost:
            self.take(view, decision)

    def judge(self, job: Job, new: YoloTrainingJobStatus) -> None:
        """What a status may never say."""
        ends = deadline(job)
        settled = job.status.phase == Phase.RELEASING and new.phase == Phase.QUEUED
        assert not (settled and ends is not None and ends <= self.now), "a job is not tried again past its deadline"
        same = {(c.type, c.status): c.last_transition_time for c in job.status.conditions}
        for condition in new.conditions:
            since = same.get((condition.type, condition.status))
            assert since in {None, condition.last_transition_time}, "a transition time changes with the status only"
        if len(new.attempts) > len(job.status.attempts):
            self.expect_own_pod(new)
        if len(new.attempts) > len(job.status.attempts) and job.status.turn is not None:
            told, word = job.status.turn.stopping, self.last_word()
            obeyed = told in YIELDED_REASONS and word in {"", "Interrupted"}
            assert not obeyed or new.attempts[-1].reason == told, "who stops as told is told so, and it costs nothing"
        failures = sum(attempt.reason not in COST_FREE_REASONS for attempt in new.attempts)
        if new.phase == Phase.FAILED and failures <= job.spec.backoff_limit:
            last = new.attempts[-1].reason if new.attempts else None
            assert last in FINAL_REASONS or ends is not None, "what costs no attempt fails no job"

    def expect_own_pod(self, new: YoloTrainingJobStatus) -> None:
        """Law 6: how an attempt ended is read from this turn's pod."""
        attempt = new.attempts[-1]
        assert attempt.fence == self.lease.fence
        if attempt.exit_code is not None:
            assert any(pod.name == attempt.pod and pod.fence == attempt.fence for pod in self.pods.values())

    def last_word(self) -> str:
        """The reason that this turn's ended pod gave; empty where it gave none, or has gone."""
        ended = [pod.termination for pod in self.pods.values() if pod.fence == self.lease.fence and pod.termination]
        return str(ended[0].last_word.get("reason", "")) if ended else ""

    def may_stop(self, pod: TrainingPod) -> None:
        """A training is stopped for a cause that is on record, and preempted only where its job allows it."""
        if self.job is None or self.lease.holder != KEY.holder or pod.fence != self.lease.fence:
            return
        assert not self.unreadable, "what cannot be read is not stopped (law 10)"
        turn_, attempts = self.job.status.turn, self.job.status.attempts
        if pod.job_uid != KEY.uid or any(attempt.fence == pod.fence for attempt in attempts):
            return
        assert turn_ is not None and turn_.stopping, "the cause comes before the effect"
        if turn_.stopping == Reason.QUOTA_WITHDRAWN:
            assert self.withdrawal
        if turn_.stopping == Reason.PREEMPTED:
            assert self.job.spec.preemptible
            assert self.preemptor is not None and self.preemptor.priority > self.job.spec.priority, "no thrashing"

    def expect_in_time(self, decision: Decision) -> None:
        """Law 9: without a live training pod nothing prolongs an outage that has been long enough."""
        over = idle_outage_left(self.lease, POLICY, self.now) <= 0
        if not over or self.live() or self.loaded:
            return
        assert not isinstance(decision.action, Unload | HandOver), "law 9: the outage goes on without a training"
        assert not isinstance(decision.action, CreatePod), "law 9: a training begins when it is too late"
        assert not decision.measuring, "law 9: the memory is waited for too long"

    def take(self, view: TurnView, decision: Decision) -> None:
        self.expect_in_time(decision)
        match decision.action:
            case Unload():
                self.unload()
            case CreatePod(attempt, _, coresident, proven):
                self.create_pod(view, attempt, proven, coresident=coresident)
            case DeletePod(pod):
                self.may_stop(pod)
                self.pods[pod.name] = replace(pod, deleting=True)
            case ReturnLease(owed, _, handed_over, unused_since):
                assert not self.own(), "law 2: the Lease goes back when the job's pods have ended"
                assert not handed_over or self.successor, "law 3: a GPU is passed on to somebody"
                assert not handed_over or self.is_over(), "who is to be tried again does not pass its GPU on unseen"
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
                assert self.successor, "law 3: a GPU is passed on to somebody"
            case SettleReload():
                assert self.loaded, "law 3: a debt is paid by loading"
                self.lease = replace(self.lease, reload_pending="", unused_since=None)

    def unload(self) -> None:
        assert self.lease.holder == KEY.holder, "law 5: the Lease comes before the unload"
        if self.reachable and self.resident_exists:
            self.was_unloaded = self.was_unloaded or self.loaded
            self.loaded = False
            self.hold = Hold(self.lease.holder, self.lease.fence, 60.0)

    def is_over(self) -> bool:
        return self.job is not None and self.job.status.phase in TERMINAL_PHASES

    def create_pod(self, view: TurnView, attempt: int, proven: int | None, *, coresident: bool) -> None:
        assert self.lease.holder == KEY.holder
        assert not self.live(), "law 2: one live training pod on a GPU"
        assert view.resident is not None and view.resident.report is not None, "law 6: proven by a live measurement"
        assert view.resident.report.free_mib >= NEED, "law 1: memory first"
        samples = self.room if coresident else self.samples
        assert len(samples) >= POLICY.samples, "law 1: several samples in a row"
        assert min(samples[-POLICY.samples :]) >= NEED + POLICY.margin_mib, "law 1: every one of them is enough"
        assert coresident == self.loaded, "only what was measured beside the resident runs beside it"
        held = self.hold is not None and self.hold.fence == self.lease.fence
        assert coresident or held, "law 1: the resident has promised this turn to stay unloaded"
        assert proven is not None and proven >= NEED, "law 1: the pod carries its proof"
        name = f"digits-{attempt}"
        if coresident:
            self.beside.add(name)
        self.pods[name] = TrainingPod(
            "vision", name, name, KEY.uid, "gpu-1", self.lease.fence, "Running",
            "10.0.0.1", False, timestamp(self.now), None, None, proven_mib=proven,
        )  # fmt: skip

    def load(self) -> None:
        assert self.lease.holder == HOLDER_RESIDENT, "law 5: the Lease is back before the load"
        assert not self.live(), "law 2: no load beside a live training pod"
        self.hold = None
        if self.loaded or self.used() + self.model <= TOTAL - RESERVED:
            self.loaded, self.load_failed, self.failure = True, False, ""
        else:
            self.load_failed, self.failure = True, "503: not enough free memory"

    @invariant()
    def never_overbooked(self) -> None:
        if hasattr(self, "job"):
            assert self.used() <= TOTAL - RESERVED
            beside = any(name in self.beside for name in self.live())
            assert beside or not (self.loaded and self.trainer), "resident and training are on the GPU at once"

    @invariant()
    def attempts_are_told_once(self) -> None:
        if getattr(self, "job", None) is not None and self.job is not None:
            numbers = [attempt.number for attempt in self.job.status.attempts]
            assert numbers == list(range(1, len(numbers) + 1))

    def teardown(self) -> None:
        """When the faults end, the turn ends: the GPU is the resident's, nothing is owed, nothing runs."""
        if not hasattr(self, "job"):
            return
        self.reachable = self.resident_exists = True
        self.unreadable = ""
        self.foreign, self.successor, self.preemptor, self.node_trouble, self.withdrawal = 0, "", None, "", ""
        for _ in range(80):
            self.trainer_ends(looks=0, reason="Completed", killed="")
            self.kubelet_deletes(looks=0)
            self.reconcile()
            if self.lease.holder == HOLDER_RESIDENT and not self.lease.reload_pending:
                break
        assert self.lease.holder == HOLDER_RESIDENT
        assert not self.lease.reload_pending
        assert not self.live()
        if self.was_unloaded and self.hold is None and self.job is not None and self.unreadable_since is None:
            assert self.job.status.phase != Phase.RELEASING


TestTurn = Turn.TestCase
STEPS = os.environ.get("GPU_RELAY_MODEL_STEPS", "")
"""Steps of the model in all, for example 100000 (some minutes); by default fewer, and the same ones each time."""
TestTurn.settings = settings(
    max_examples=int(STEPS or 6_000) // 40, stateful_step_count=40, deadline=None, derandomize=not STEPS
)
