"""The planner against a simulated cluster: whatever fails, crashes or is deleted, the laws hold and all turns end.

`turn_simulation` holds the simulated Lease, resident, pods and job; `turn_laws` checks and applies the planner's steps.
Hypothesis interleaves them with faults: lost steps, a restarted operator, a restarted or silent resident, lost pods.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gpu_relay.api.words import Phase
from gpu_relay.domain.objects.lease import HOLDER_RESIDENT
from gpu_relay.domain.objects.pod import Termination
from gpu_relay.domain.objects.resident import Hold
from gpu_relay.domain.quantities import timestamp
from gpu_relay.domain.turn_view import Preemptor
from tests.property.turn_laws import CheckedTurn
from tests.property.turn_simulation import NEED, SMALL_MODEL
from tests.support import builders
from tests.support.builders import FREE_MIB, MODEL_MIB

MOSTLY = st.sampled_from([True] * 7 + [False])
"""Faults are rarer than work: otherwise no turn gets far enough to break a law."""


def disturbance(**given: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a rule after which the operator reconciles a few times, without a further fault."""

    def with_reconciles(method: Callable[..., None]) -> Callable[..., None]:
        def disturbed(self: "Turn", times: int, **drawn: Any) -> None:
            method(self, **drawn)
            for _ in range(times):
                self.dispatch_if_free()
                self.reconcile()

        disturbed.__name__ = method.__name__
        as_rule: Any = rule(times=st.integers(0, 8), **given)
        return cast("Callable[..., None]", as_rule(disturbed))

    return with_reconciles


class Turn(CheckedTurn, RuleBasedStateMachine):
    """Operator, users, cluster and faults act on the simulated GPU in any order."""

    @initialize(
        foreign=st.sampled_from([0, 0, 3000]),
        loaded=st.booleans(),
        model=st.sampled_from([MODEL_MIB, MODEL_MIB, SMALL_MODEL]),
        sharing=st.sampled_from(["Exclusive", "Coresident"]),
        preemptible=st.booleans(),
        active=st.sampled_from([None, None, 60]),
    )
    def begin(
        self, foreign: int, loaded: bool, model: int, sharing: str, preemptible: bool, active: int | None
    ) -> None:
        self.start(foreign, loaded, model, sharing, preemptible, active)

    @rule(steps=st.integers(1, 10))
    def operate(self, steps: int) -> None:
        for _ in range(steps):
            self.dispatch_if_free()
            self.reconcile()

    @rule()
    def operator_crashes_before_the_action(self) -> None:
        """The status is written, the action is not applied, and the next process starts without memory."""
        self.reconcile(step_is_lost=True)
        self.forget()

    @rule()
    def operator_crashes_before_the_status(self) -> None:
        self.decide()
        self.forget()

    @disturbance()
    def resident_restarts(self) -> None:
        self.loaded, self.hold = False, None

    @disturbance()
    def hold_belongs_to_another_turn(self) -> None:
        """The resident is still held for the turn before, so it may load at any time."""
        if not self.loaded:
            self.hold = Hold("vision/other/uid-2", self.lease.fence - 1, 60.0)

    @disturbance(waits=st.booleans())
    def another_job(self, waits: bool) -> None:
        """A job waits for the GPU, and may or may not get it."""
        self.successor = "vision/other" if waits else ""

    @disturbance(priority=st.sampled_from([None, None, 0, 5]))
    def a_job_of_some_priority_waits(self, priority: int | None) -> None:
        """The scheduler names a job that wants this GPU; the plan alone decides whether the owner yields."""
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
    def cluster_evicts_the_pod(self, word: str) -> None:
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
        """Other processes use memory; if they do so after the measurement, only the trainer's preflight notices."""
        if not self.own() and self.used() - self.foreign + foreign <= FREE_MIB:
            self.foreign = foreign

    @disturbance()
    def trainer_allocates(self) -> None:
        """A trainer allocates its memory: by laws 1 and 2 there must be room."""
        running = [name for name in self.own() if self.can_train(self.pods[name])]
        if running and not self.trainer:
            self.trainer = NEED

    @disturbance(
        reason=st.sampled_from(["Completed", "Error", "OutOfMemory", "Interrupted", "DatasetInvalid", ""]),
        killed=st.sampled_from(["", "", "OOMKilled", "Evicted"]),
        alone=MOSTLY,
    )
    def trainer_ends(self, reason: str, killed: str = "", *, alone: bool = True) -> None:
        """The trainer ends; if it is not alone, a sidecar keeps its pod live, and the pod's share of the GPU."""
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
        """A live training pod belongs to no turn: a user has edited its Lease."""
        if not absent and not self.trainer and not self.loaded:
            created = timestamp(self.now)
            self.pods["stray-1"] = builders.pod(name="stray-1", uid="stray", job_uid="uid-0", fence=0, created=created)

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
        """Another version writes a value into the job that this version does not know, or removes it."""
        self.unreadable = "" if well else "spec.task is 'depth'"
        if not well:
            self.unreadable_since = self.unreadable_since or self.now

    @invariant()
    def never_overbooked(self) -> None:
        if hasattr(self, "job"):
            assert self.used() <= FREE_MIB
            beside = any(name in self.beside for name in self.live())
            assert beside or not (self.loaded and self.trainer), "resident and training are on the GPU at once"

    @invariant()
    def attempts_are_recorded_once(self) -> None:
        if getattr(self, "job", None) is not None and self.job is not None:
            numbers = [attempt.number for attempt in self.job.status.attempts]
            assert numbers == list(range(1, len(numbers) + 1))

    def teardown(self) -> None:
        """When the faults end, the turn ends: the resident has the GPU, no reload is pending, no pod is live."""
        if not hasattr(self, "job"):
            return
        self.reachable = self.resident_exists = True
        self.unreadable = ""
        self.foreign, self.successor, self.preemptor, self.node_trouble, self.withdrawal = 0, "", None, "", ""
        for _ in range(80):
            self.trainer_ends(times=0, reason="Completed", killed="")
            self.kubelet_deletes(times=0)
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
