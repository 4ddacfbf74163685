"""What one process remembers of a turn between two reconciles; it saves time, and its loss does no harm."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Self

from gpu_relay.api.words import Reason
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.objects.represented import Represented
from gpu_relay.domain.objects.resident import GpuReport
from gpu_relay.domain.turn.workload_turn import PIN_SETTLES
from gpu_relay.domain.turn_view import ProvenGpu, may_use_gpu
from gpu_relay.observability import metrics

LONGEST_GAP = 5.0
"""Seconds from one measurement of a row to the next, and from the last to the creation of the pod, at most.

Measurements that are rarer by a setting have a longer `apart` of their own.
"""


@dataclass
class StepClocks:
    """Times the steps of one turn for `gpu_relay_step_seconds`; each step counts once, from its first start."""

    monotonic: Callable[[], float] = time.monotonic
    _begun: dict[str, float] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)

    def start(self, step: str) -> None:
        """Start a step; a repetition changes nothing."""
        self._begun.setdefault(step, self.monotonic())

    def stop(self, step: str) -> None:
        """Record the time of a step; a step that another process started is not counted."""
        if step in self._begun and step not in self._done:
            self._done.add(step)
            metrics.STEP_SECONDS.labels(step).observe(self.monotonic() - self._begun[step])


@dataclass
class TurnState:
    """What one process remembers of a turn; its loss does no harm."""

    lease: GpuLease
    """The Lease as it was last read or written."""
    monotonic: Callable[[], float] = time.monotonic
    """Returns the seconds in which this state counts."""
    samples: list[int] = field(default_factory=list)
    """Free MiB in a row of measurements while the resident was unloaded under a hold, and no trainer was live."""
    room: list[int] = field(default_factory=list)
    """The same for the MiB free beside a loaded resident."""
    sampled_at: float = 0.0
    reported_at: float = 0.0
    """When the residents were asked for the last report that all of them have given (monotonic, seconds)."""
    measuring: bool = False
    """The last reconcile needed only another sample."""
    changed: bool = False
    """Something that may concern the turn has changed since the last complete reconcile began."""
    free_before: int | None = None
    allocated_before: int = 0
    """What the resident's model held when `free_before` was measured, in MiB."""
    unload_message: str = ""
    failure: str = ""
    refusal: Reason | None = None
    refused_since: float | None = None
    unanswered_creation: float | None = None
    """Since when this turn's pod may appear late; None once it has been seen.

    This process gave up its creation without an answer, or another process began the turn and may have done so.
    """
    was_ready: bool = False
    """The check of a Workload has been read as Ready for this turn."""
    is_pinned: bool = False
    """The node may have the label by which the pods of a Workload's turn find it."""
    unpinned_at: float | None = None
    """When this process removed that label (monotonic, seconds)."""
    podless_since: float | None = None
    stopped_since: float | None = None
    had_pod: bool = False
    remembered_proof: int | None = None
    """Of a Workload's turn: see `TurnView`."""
    proof: ProvenGpu | None = None
    """Of a Workload with several GPUs: that this one is proven free, by the last measurement."""
    companions: tuple[Self, ...] = ()
    """The states of the other GPUs of the same Workload."""
    represents: Represented | None = None
    """The object that the Workload of the turn represents, as it was last read."""
    ran_since: float | None = None
    ran_for: float = 0.0
    """Seconds for which this process has seen a pod of a Workload's turn run, before `ran_since`."""
    load_failed: bool = False
    handed_over: bool = False
    resident_missing_since: float | None = None
    unwilling_since: float | None = None
    """Since when the resident has refused to unload."""
    silent_since: float | None = None
    """Since when it has not answered."""
    start_failing_since: float | None = None
    unreadable_since: float | None = None
    asked_at: float = 0.0
    progress: dict[str, Any] | None = None
    """The progress that the trainer last reported."""
    node_trouble: str = ""
    clocks: StepClocks = field(init=False)
    ended: TrainingPod | None = None
    """This turn's pod, as the watch showed its end; a deleted pod may be gone at the next reconcile."""

    def __post_init__(self) -> None:
        self.clocks = StepClocks(self.monotonic)

    @classmethod
    def of(cls, lease: GpuLease, before: Self | None, monotonic: Callable[[], float] = time.monotonic) -> Self:
        """Return the state of a turn, or of a reload, that begins; `before` is the last state of the same GPU.

        A row of measurements continues if no other turn lies between. A returned Lease keeps whether the GPU was handed
        over to the next job.
        """
        state = cls(lease, monotonic)
        if before is not None and lease.fence - before.lease.fence in {0, 1}:
            state.samples, state.sampled_at = list(before.samples), before.sampled_at
            state.handed_over = before.handed_over and lease.fence == before.lease.fence
        if before is not None and lease.fence == before.lease.fence:
            state.represents = before.represents
        return state

    def seconds_since(self, moment: float | None) -> float:
        """Return the seconds since a moment; 0 without one."""
        return 0.0 if moment is None else self.monotonic() - moment

    def note_residents(self, *, missing: bool, silent: bool) -> None:
        """Remember since when no resident has been there, and since when one has not answered."""
        self.resident_missing_since = self._since(self.resident_missing_since, missing)
        self.silent_since = self._since(self.silent_since, silent)
        if missing or silent:
            self.forget_samples()

    def note_job(self, *, unreadable: bool) -> None:
        """Remember since when the job cannot be read."""
        self.unreadable_since = self._since(self.unreadable_since, unreadable)

    def note_pods(self, pods: Iterable[TrainingPod]) -> None:
        """Forget the samples while a pod may use the GPU, and an unanswered creation when its pod exists."""
        pods = list(pods)
        may_appear = self.is_pin_effective()
        if any(may_use_gpu(pod, self.lease, may_appear=may_appear) for pod in pods):
            self.forget_samples()
        if any(pod.fence == self.lease.fence and not pod.workload_uid for pod in pods):
            self.unanswered_creation = None

    def note_workload(self, *, live: bool, stopped: bool) -> None:
        """Remember since when a Workload's turn has had no live pod, and no right to one."""
        self.podless_since = self._since(self.podless_since, not live)
        self.stopped_since = self._since(self.stopped_since, stopped)
        self.had_pod = self.had_pod or live

    def note_pin(self, *, removed: bool) -> None:
        """Remember that the label of a Workload's turn is set, or has been removed from the node."""
        self.is_pinned, self.unpinned_at = not removed, self.monotonic() if removed else None

    def is_pin_effective(self) -> bool:
        """True while a pod may be placed by the label; its removal takes some seconds to have an effect."""
        return self.is_pinned or (self.unpinned_at is not None and self.seconds_since(self.unpinned_at) < PIN_SETTLES)

    def note_running(self, *, running: bool) -> None:
        """Count the seconds for which a pod of a Workload's turn runs."""
        if not running:
            self.ran_for += self.seconds_since(self.ran_since)
        self.ran_since = self._since(self.ran_since, running)

    def pod_may_appear(self, timeout: float) -> bool:
        """True for so many seconds after a creation without an answer: it may still take effect."""
        return self.unanswered_creation is not None and self.seconds_since(self.unanswered_creation) < timeout

    def note_start(self, *, failing: bool) -> None:
        """Remember since when the training pod cannot be started."""
        self.start_failing_since = self._since(self.start_failing_since, failing)

    def _since(self, before: float | None, holds: bool) -> float | None:
        return (before or self.monotonic()) if holds else None

    def with_ended(self, pods: tuple[TrainingPod, ...]) -> tuple[TrainingPod, ...]:
        """Add this turn's pod to those of a LIST if it has ended and is gone."""
        if self.ended is None or any(pod.uid == self.ended.uid for pod in pods):
            return pods
        return (*pods, replace(self.ended, outlived=False))

    def lacks_samples(self, wanted: int) -> bool:
        """True if a row has begun and lacks more than one sample."""
        return 0 < max(len(self.samples), len(self.room)) < wanted - 1

    def forget_samples(self) -> None:
        """Begin a new row of samples."""
        self.samples.clear()
        self.room.clear()
        self.proof = None

    @property
    def is_first_unproven(self) -> bool:
        """True if no GPU of the same Workload before this one waits for its proof: one message changes rarely."""
        return not any(each.proof is None and each.lease.gpu < self.lease.gpu for each in self.companions)

    @property
    def recent_proof(self) -> ProvenGpu | None:
        """That this GPU is proven free, by a measurement of a moment ago."""
        return self.proof if self.seconds_since(self.reported_at) < LONGEST_GAP else None

    def take_sample(self, report: GpuReport, at: float, *, keep: int, apart: float) -> None:
        """Add a measurement: of free memory under a hold of any holder, or beside a loaded resident.

        `at` is its time. A row begins with any measurement. Each further one is at least `apart` seconds after the
        last, and a much longer gap begins a new row.
        """
        held = report.held_under is not None
        if not held:
            self.samples.clear()
        if not report.model_loaded:
            self.room.clear()
        if at - self.sampled_at > max(LONGEST_GAP, 4 * apart):
            self.forget_samples()
        row = self.samples if held else self.room
        if row and at - self.sampled_at < apart:
            return
        self.sampled_at = at
        if held:
            self.samples = [*self.samples[-keep:], report.free_mib]
        elif report.model_loaded:
            self.room = [*self.room[-keep:], report.room_mib]
