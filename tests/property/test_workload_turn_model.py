"""The plan of a Workload's turn against a simulated Kueue: whatever it does, and in whatever order, the laws hold.

`workload_simulation` holds the simulated GPU and checks each step. Hypothesis interleaves Kueue's and the pods' events
with faults: an operator that crashes, a silent resident, a Kueue that is down, a Workload that is deleted or replaced.
"""

import os
from dataclasses import replace
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gpu_relay.domain.objects.checked_workload import PENDING, READY
from gpu_relay.domain.objects.lease import HOLDER_RESIDENT, GpuLease
from gpu_relay.domain.objects.pod import Termination, TrainingPod
from gpu_relay.domain.objects.resident import Hold
from tests.property.reconciling_event import event
from tests.property.workload_simulation import NEED, SimulatedWorkload, workload
from tests.support.builders import FREE_MIB

ANY = st.integers(0, 1)
MOSTLY = st.sampled_from([True] * 7 + [False])


class WorkloadTurn(SimulatedWorkload, RuleBasedStateMachine):
    """Operator, Kueue, the Job controller, the kubelet and faults act in any order."""

    number_of_gpus = 1

    @initialize(upto=st.integers(0, 4))
    def begin(self, upto: int) -> None:
        self.start(self.number_of_gpus)
        self.course(upto)

    @rule(steps=st.integers(1, 8))
    def operate(self, steps: int) -> None:
        for _ in range(steps):
            self.dispatch_if_free()
            self.reconcile()

    @rule(upto=st.integers(0, 4))
    def normal_course(self, upto: int) -> None:
        """Kueue, the operator and the Job controller do what they do without faults, up to some step."""
        self.course(upto)

    def course(self, upto: int) -> None:
        self.kueue_reserves(times=0)
        if upto > 0:
            self.operate(6)
        if upto > 1:
            self.kueue_admits(times=0)
        if upto > 2:
            self.job_controller_creates()
        if upto > 3:
            self.pod_allocates()

    @rule()
    def operator_crashes(self) -> None:
        self.reconcile(crashes=True)

    @rule(leases=st.integers(0, 1))
    def scheduler_crashes(self, leases: int) -> None:
        """The process ends when it has taken some of the Leases."""
        self.dispatch_if_free(leases)
        self.forget()

    @rule()
    def operator_restarts(self) -> None:
        self.reconcile()
        self.forget()

    @event(seconds=st.integers(1, 60))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @event()
    def kueue_reserves(self) -> None:
        """A check that is Ready survives a mere withdrawal of quota: Kueue then admits at once."""
        one = self.workload
        if one is not None and self.kueue_up and one.active and not (one.finished or one.reserved or one.deleting):
            self.change(reserved=True, evicted=False)

    @event()
    def kueue_withdraws_a_mere_reservation(self) -> None:
        one = self.workload
        if one is not None and self.kueue_up and one.reserved and not one.admitted and not one.finished:
            self.change(reserved=False)

    @event()
    def kueue_admits(self) -> None:
        one = self.workload
        if one is None or not self.kueue_up or not one.reserved or one.evicted or one.finished or one.entry is None:
            return
        if one.entry.state == READY and not one.admitted:
            self.change(admitted=True)
            self.runs, self.has_stopped = True, False
            self.pin = (one.entry.turns, one.key.uid)

    @event()
    def kueue_evicts(self) -> None:
        one = self.workload
        if one is not None and self.kueue_up and one.reserved and not one.finished and one.entry is not None:
            if one.entry.state == READY and self.was_seen_ready():
                self.stopped_turns.add(one.entry.turns)
            self.change(evicted=True, entry=replace(one.entry, state=PENDING))

    @rule(operator_runs=st.booleans())
    def kueue_queues_it_again(self, operator_runs: bool) -> None:
        """At once; where no operator runs, the pods of the turn may not have ended when the next process starts."""
        self.kueue_evicts(times=0)
        self.kueue_suspends_the_job(times=0)
        self.kueue_clears_the_quota(times=0)
        self.kueue_reserves(times=0)
        if not operator_runs:
            self.forget()

    @event()
    def kueue_answers_retry(self) -> None:
        one = self.workload
        if one is not None and one.entry is not None and one.entry.state == "Retry":
            self.kueue_evicts(times=0)

    @event()
    def kueue_suspends_the_job(self) -> None:
        one = self.workload
        if self.kueue_up and (one is None or one.evicted):
            self.stop_job()

    @event()
    def kueue_clears_the_quota(self) -> None:
        """Kueue does not wait for pods that terminate."""
        one = self.workload
        if one is not None and self.kueue_up and one.evicted and not self.runs:
            self.change(reserved=False, admitted=False)

    @event(active=MOSTLY)
    def user_deactivates(self, active: bool) -> None:
        self.change(active=active)

    @event(keeps=MOSTLY)
    def user_deletes_the_job(self, keeps: bool) -> None:
        if not keeps and self.workload is not None:
            self.workload = None
            self.stop_job()

    @event()
    def kueue_makes_a_new_workload(self) -> None:
        """It has the same name and another UID, while pods of the former one may still run."""
        if self.workload is None and not self.runs:
            self.number, self.version = self.number + 1, self.version + 1
            self.workload = replace(workload(self.number, len(self.gpus)), resource_version=str(self.version))

    @event(up=MOSTLY)
    def kueue(self, up: bool) -> None:
        self.kueue_up = up

    @rule()
    def job_controller_creates(self) -> None:
        one = self.workload
        if self.runs and not self.has_pod() and one is not None and not one.finished:
            self.create_pod()

    @event()
    def job_controller_creates_late(self) -> None:
        """The Job controller has not seen that the Job is suspended or deleted, however long ago that was."""
        if self.has_stopped and not self.has_pod():
            self.create_pod()
            self.has_stopped = False

    @event()
    def scheduler_places(self) -> None:
        self.schedule()

    @event(answer=MOSTLY)
    def nodes_can_be_labelled(self, answer: bool) -> None:
        self.nodes_answer = answer

    @event()
    def job_controller_deletes(self) -> None:
        if not self.runs:
            for pod in self.pods.values():
                self.pods[pod.name] = replace(pod, deleting=True)

    @rule()
    def pod_allocates(self) -> None:
        for pod in self.live():
            for gpu in self.gpus:
                self.expect_turn_of(pod, gpu.lease)
                gpu.allocated[pod.name] = NEED

    def expect_turn_of(self, pod: TrainingPod, lease: GpuLease) -> None:
        """Check laws 1 and 2: a pod runs in turns of its own Workload, on the GPUs of those turns."""
        owner = lease.owner
        assert owner is not None and owner.uid == pod.workload_uid, "law 2: a pod of another owner is live"
        assert (lease.gpu, lease.fence) in self.turns[pod.name], "law 1: the pod is of a former turn"

    @event(phase=st.sampled_from(["Succeeded", "Failed"]))
    def pod_ends(self, phase: str) -> None:
        for pod in self.live():
            self.pods[pod.name] = replace(pod, phase=phase, termination=Termination(None, phase))
            self.free(pod)
            if phase == "Succeeded" and self.runs:
                self.runs, self.has_stopped = False, False
                self.change(finished=True)

    @event(frees=MOSTLY)
    def kubelet_deletes(self, frees: bool) -> None:
        """A pod is gone from the API; its process may outlive it for a moment."""
        for pod in [pod for pod in self.pods.values() if pod.deleting or not pod.live]:
            del self.pods[pod.name]
            if frees:
                self.free(pod)

    @event()
    def processes_end(self) -> None:
        for gpu in self.gpus:
            gpu.allocated = {name: mib for name, mib in gpu.allocated.items() if name in self.pods}

    @event(of=ANY)
    def resident_restarts(self, of: int) -> None:
        gpu = self.gpus[of % len(self.gpus)]
        gpu.loaded, gpu.hold = False, None

    @event(of=ANY)
    def hold_belongs_to_another_turn(self, of: int) -> None:
        gpu = self.gpus[of % len(self.gpus)]
        if not gpu.loaded:
            gpu.hold = Hold("vision/other/uid-2", gpu.lease.fence - 1, 60.0)

    @event(of=ANY, reachable=MOSTLY, exists=MOSTLY)
    def resident(self, of: int, reachable: bool, exists: bool) -> None:
        gpu = self.gpus[of % len(self.gpus)]
        gpu.reachable, gpu.resident_exists = reachable, exists
        if not exists:
            gpu.loaded, gpu.hold = False, None

    @event(of=ANY, foreign=st.sampled_from([0, 0, 6000]))
    def foreign_memory(self, of: int, foreign: int) -> None:
        gpu = self.gpus[of % len(self.gpus)]
        idle = not self.live() and not self.takes_pods()
        if idle and gpu.used() - gpu.foreign + foreign <= FREE_MIB:
            entry = self.workload.entry if self.workload is not None else None
            gpu.foreign = 0 if entry is not None and entry.state == READY else foreign

    @event(waits=st.booleans())
    def another_waits(self, waits: bool) -> None:
        self.successor = "team/other" if waits else ""

    @invariant()
    def never_overbooked(self) -> None:
        if hasattr(self, "workload"):
            for gpu in self.gpus:
                assert gpu.used() <= FREE_MIB, "law 1: more memory is in use than the GPU has"
                assert not (gpu.loaded and gpu.allocated), "law 2: resident and a pod are on the GPU at once"

    def teardown(self) -> None:
        """When the faults end, the turn ends: the resident has the GPU, no reload is pending, no pod is live."""
        if not hasattr(self, "workload"):
            return
        self.kueue_up, self.nodes_answer, self.successor = True, True, ""
        for gpu in self.gpus:
            gpu.reachable, gpu.resident_exists, gpu.foreign = True, True, 0
        for _ in range(80):
            self.kueue_answers_retry(times=0)
            if self.workload is not None:
                self.change(active=False)
                self.kueue_evicts(times=0)
            self.kueue_suspends_the_job(times=0)
            self.kueue_clears_the_quota(times=0)
            self.job_controller_deletes(times=0)
            self.kubelet_deletes(times=0, frees=True)
            self.processes_end(times=0)
            self.reconcile()
        assert all(gpu.lease.holder == HOLDER_RESIDENT and not gpu.lease.reload_pending for gpu in self.gpus)
        assert not self.live()


class TwoGpus(WorkloadTurn):
    """The same with one pod that has two GPUs."""

    number_of_gpus = 2


TestWorkloadTurn, TestTwoGpus = WorkloadTurn.TestCase, TwoGpus.TestCase
STEPS = os.environ.get("GPU_RELAY_MODEL_STEPS", "")
"""Steps of the model in all, for example 100000 (some minutes); by default fewer, and the same ones each time."""
TestWorkloadTurn.settings = TestTwoGpus.settings = settings(
    max_examples=int(STEPS or 8_000) // 40, stateful_step_count=40, deadline=None, derandomize=not STEPS
)
