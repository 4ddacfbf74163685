"""One look at one GPU: observe live, plan, apply.

What is remembered between looks only saves time; no decision that could cost memory depends on it.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from gpu_relay.api.words import TERMINAL_PHASES, UNMANAGED_GPU
from gpu_relay.domain import turn
from gpu_relay.domain.mishaps import is_start_failure
from gpu_relay.domain.model import GpuLease, Job, JobKey, Policy, Preemptor, Resident, TrainingPod, TurnView
from gpu_relay.domain.steps import Decision, Notice
from gpu_relay.effects import clock, logs, metrics, trainers
from gpu_relay.effects.kube import KubeError
from gpu_relay.effects.pod_builder import TrainerDefaults
from gpu_relay.engine.actions import Actions, Effects
from gpu_relay.engine.admissions import Admissions
from gpu_relay.engine.memory import Memory

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Heard:
    """A GPU's resident as it has answered, if there is one, and when (monotonic, seconds)."""

    resident: Resident | None
    at: float = 0.0


@dataclass(frozen=True)
class _Seen:
    """What was read live beside a Lease."""

    pods: tuple[TrainingPod, ...]
    job: Job | None
    heard: _Heard


class Turns:
    """Drives the turn of each GPU."""

    def __init__(
        self,
        effects: Effects,
        policy: Policy,
        defaults: TrainerDefaults,
        released: Callable[[], None],
        waiting_for: Callable[[str], tuple[str, Preemptor | None]],
        admissions: Admissions,
    ) -> None:
        """`released` is called when a GPU may have become free.

        `waiting_for` names the job that may have a GPU next, and the one for which a preemptible owner is to stop.
        """
        self._do = effects
        self._actions = Actions(effects, defaults, released)
        self._waiting_for = waiting_for
        self._admissions = admissions
        self._policy = policy
        self._memory: dict[str, Memory] = {}
        self.concerns: dict[str, str] = {}
        """GPU by the holder whose turn, or whose reload, it is about; tells which GPU a change of a job concerns."""

    def open_though_owed(self, gpu: str) -> bool:
        """True when the queue need not wait for a reload: the next turn goes first, or the last load failed."""
        memory = self._memory.get(gpu)
        return memory is not None and (memory.load_failed or memory.passed_on)

    def is_passed_on(self, gpu: str) -> bool:
        """True while a GPU waits for the next job to take it."""
        memory = self._memory.get(gpu)
        return memory is not None and memory.passed_on

    def see_end(self, pod: TrainingPod) -> None:
        """Remember how a pod ended: what the watch has shown is final, and may be gone at the next look."""
        memory = self._memory.get(pod.gpu)
        if memory is not None and memory.lease.fence == pod.fence and not pod.live:
            memory.ended = pod

    def see_change(self, gpu: str) -> None:
        """Have the next look look at everything."""
        memory = self._memory.get(gpu)
        if memory is not None:
            memory.changed = True

    def see_lease(self, lease: GpuLease) -> None:
        """Remember a Lease as this process has just written it: the next look need not wait to be told of it."""
        self._recall(lease)

    async def look(self, gpu: str) -> float | None:
        """Take one look at a GPU; return the seconds until the next one, None to wait for a change."""
        with metrics.PASS_SECONDS.time():
            memory = self._memory.get(gpu)
            if memory is not None and self._is_between_samples(memory):
                return await self._measure(memory)
            lease, seen = await self._read(gpu, memory)
            if lease is None or seen is None:
                self._memory.pop(gpu, None)
                return None
            owner = _concerned(lease)
            logs.task_is_about(gpu=gpu, fence=lease.fence, **({"job": str(owner)} if owner else {}))
            view = await self._view(lease, owner, seen)
            memory = self._memory.get(gpu)
            if memory is None or self._is_overtaken(lease):
                return 0
            decision = turn.plan(view)
            logger.debug("looked: %s, then %s", view.job and view.job.status.phase, decision.step)
            memory.measuring = decision.measuring
            again_in = await self._apply(view, decision)
            return self._until_next_sample(memory) if decision.measuring and again_in else again_in

    def _is_between_samples(self, memory: Memory) -> bool:
        """True where only a further sample is wanted: the last one of a row comes with a look at everything."""
        return memory.measuring and not memory.changed and memory.lacks_samples(self._policy.samples)

    async def _measure(self, memory: Memory) -> float:
        """Take a sample, and nothing but a sample."""
        logs.task_is_about(gpu=memory.lease.gpu, fence=memory.lease.fence)
        self._remember_resident(memory, await self._hear(memory.lease))
        return self._until_next_sample(memory)

    def _until_next_sample(self, memory: Memory) -> float:
        """Return the seconds until the next sample is due, counted from the last one: looks take time, too."""
        return max(0.0, memory.sampled_at + self._policy.sample_interval - time.monotonic())

    async def _read(self, gpu: str, memory: Memory | None) -> tuple[GpuLease | None, _Seen | None]:
        """Read a GPU's Lease and all that it concerns, live; both None where there is no Lease.

        All is read at once by the Lease as it was known, and anew where that has changed. So a Lease that is returned
        was in force all the while that the rest was read. Where the dispatcher has written it meanwhile, all is read
        again: a turn that goes first is no reason to load.
        """
        if memory is None:
            lease, seen = await self._do.leases.get(gpu), None
        else:
            memory.changed = False
            lease, seen = await asyncio.gather(self._do.leases.get(gpu), self._read_rest(memory.lease))
        if self._memory.get(gpu) is not memory:
            return await self._read(gpu, self._memory.get(gpu))
        if lease is None:
            return None, None
        if memory is None or seen is None or lease != memory.lease:
            self._recall(lease).changed = False
            seen = await self._read_rest(lease)
            if self._is_overtaken(lease):
                return await self._read(gpu, self._memory.get(gpu))
        return lease, seen

    def _is_overtaken(self, lease: GpuLease) -> bool:
        """True where the dispatcher has given the GPU to a job since this Lease was read."""
        memory = self._memory.get(lease.gpu)
        return memory is not None and memory.lease.fence != lease.fence

    async def _read_rest(self, lease: GpuLease) -> _Seen:
        owner = _concerned(lease)
        managed = lease.gpu != UNMANAGED_GPU
        pods, job, heard = await asyncio.gather(
            self._do.pods.on_gpu(lease),
            self._do.jobs.get(owner) if owner else _nothing(),
            self._hear(lease) if managed and owner else _nothing(),
        )
        return _Seen(pods, job, heard or _Heard(None))

    async def _hear(self, lease: GpuLease) -> _Heard:
        return _Heard(await self._do.directory.on_gpu(lease), time.monotonic())

    async def _view(self, lease: GpuLease, owner: JobKey | None, seen: _Seen) -> TurnView:
        memory = self._recall(lease)
        self.concerns = {holder: gpu for holder, gpu in self.concerns.items() if gpu != lease.gpu}
        if owner is not None:
            self.concerns[owner.holder] = lease.gpu
        self._remember_resident(memory, seen.heard)
        if any(pod.live for pod in seen.pods):
            memory.forget_samples()
        successor, preemptor = self._waiting_for(lease.gpu)
        job, pods = seen.job, seen.pods
        view = TurnView(
            now=clock.now(),
            policy=self._policy,
            lease=lease,
            resident=seen.heard.resident,
            job=await self._admissions.granted(job) if job else None,
            pods=pods if memory.ended is None or memory.ended in pods else (*pods, memory.ended),
            samples=tuple(memory.samples),
            room=tuple(memory.room),
            free_before=memory.free_before,
            unload_message=memory.unload_message,
            failure=memory.failure,
            refusal=memory.refusal,
            load_failed=memory.load_failed,
            resident_missing_for=_since(memory.resident_missing_since),
            unwilling_for=_since(memory.unwilling_since),
            successor=successor,
            preemptor=preemptor,
            withdrawal=self._admissions.withdrawal(job) if job else "",
        )
        return await self._with_pod(view, memory)

    async def _with_pod(self, view: TurnView, memory: Memory) -> TurnView:
        """Ask the training how it is, and its node where it does not say; at most once in a progress interval."""
        pod = view.own_pod
        if pod is None or not pod.live:
            if pod is not None:
                memory.clocks.start("return")
            return view
        if pod.waiting is None:
            memory.clocks.stop("start")
        if time.monotonic() - memory.asked_at >= self._policy.progress_interval:
            memory.asked_at = time.monotonic()
            said = await trainers.progress(self._do.http, pod)
            memory.node_trouble = await self._do.nodes.trouble(pod.node) if pod.node and said is None else ""
            memory.progress = said or memory.progress
        failing = is_start_failure(pod)
        memory.start_failing_since = (memory.start_failing_since or time.monotonic()) if failing else None
        return replace(
            view,
            progress=memory.progress,
            node_trouble=memory.node_trouble,
            start_failing_for=_since(memory.start_failing_since),
        )

    def _recall(self, lease: GpuLease) -> Memory:
        """Return what is remembered of a turn, with its Lease as it now is."""
        memory = self._memory.get(lease.gpu)
        if memory is None or (memory.lease.fence, memory.lease.holder) != (lease.fence, lease.holder):
            memory = self._memory[lease.gpu] = Memory.of(lease, memory)
        memory.lease = lease
        return memory

    def _remember_resident(self, memory: Memory, heard: _Heard) -> None:
        resident = heard.resident
        if resident is None or resident.report is None:
            memory.forget_samples()
            missing = resident is None
            memory.unwilling_since = None if missing else memory.unwilling_since or time.monotonic()
            memory.resident_missing_since = (memory.resident_missing_since or time.monotonic()) if missing else None
            return
        memory.resident_missing_since = None
        report = resident.report
        metrics.FREE_MEMORY.labels(memory.lease.gpu).set(report.free_mib)
        if memory.free_before is None and report.held_under != memory.lease.fence:
            memory.free_before = report.free_mib
        memory.take_sample(report, heard.at, keep=self._policy.samples, apart=self._policy.sample_interval)

    async def _apply(self, view: TurnView, decision: Decision) -> float | None:
        """Write the status and tell, then act: what is permitted is on record before it happens."""
        if not await self._record(view.lease.fence, decision) or self._is_overtaken(view.lease):
            return 0
        try:
            if decision.step is not None:
                self._recall(await self._actions.take(view, self._recall(view.lease), decision.step))
        except KubeError as error:
            if not error.conflict:
                raise
            logger.debug("%s: looks again", error)
            return 0
        return decision.again_in

    async def _record(self, fence: int, decision: Decision) -> bool:
        """Write the status and tell of it, at once; a verdict is told when it stands, and not before.

        False where the job has changed meanwhile, or is gone: all is to be looked at again.
        """
        job = decision.job
        if job is None:
            return True
        status = decision.status or job.status  # what is as it was is not written
        writing = self._do.jobs.write_status(job, status)
        try:
            if status.phase in TERMINAL_PHASES:
                await writing
                await self._tell(job, fence, decision.notices)
            else:
                await asyncio.gather(writing, self._tell(job, fence, decision.notices))
        except KubeError as error:
            if not (error.conflict or error.not_found):
                raise
            logger.debug("%s: looks again", error)
            return False
        return True

    async def _tell(self, job: Job, fence: int, notices: tuple[Notice, ...]) -> None:
        """Tell all at once; their times, and names, keep the order."""
        emit = self._do.events.emit
        await asyncio.gather(*(emit(job.key, job.resource_version, fence, notice) for notice in notices))


async def _nothing() -> None:
    return None


def _concerned(lease: GpuLease) -> JobKey | None:
    """Return the job that a GPU's turn, or its reload, is about."""
    return lease.owner or JobKey.from_holder(lease.reload_owed)


def _since(moment: float | None) -> float:
    return 0.0 if moment is None else time.monotonic() - moment
