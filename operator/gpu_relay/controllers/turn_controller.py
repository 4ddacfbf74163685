"""One look at one GPU: observe live, plan, apply.

What is remembered between looks only saves time; no decision that could cost memory depends on it.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from gpu_relay.api.words import TERMINAL_PHASES
from gpu_relay.clients import clock, trainers
from gpu_relay.clients.kube import KubeError
from gpu_relay.controllers.kueue_controller import Admissions
from gpu_relay.controllers.observation import ResidentReadings, Survey, ask_residents, concerned, survey
from gpu_relay.controllers.turn_actions import Actions, Effects
from gpu_relay.controllers.turn_state import Memory
from gpu_relay.domain.decision import Decision, Notice
from gpu_relay.domain.job.pod_failures import is_start_failure
from gpu_relay.domain.objects.job import Job, JobKey
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.objects.resident import GpuReport, Resident
from gpu_relay.domain.objects.turn_view import Preemptor, TurnView
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.candidate import CONTEXT_MIB, context_of
from gpu_relay.domain.turn import plan as turn
from gpu_relay.observability import logs, metrics
from gpu_relay.pods.pod_builder import TrainerDefaults

logger = logging.getLogger(__name__)


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
        self._contexts: dict[str, int] = {}
        """What each resident has freed beside its model at an unload, in MiB, by UID; lost without harm."""
        self.concerns: dict[str, str] = {}
        """The holder whose turn, or whose reload, a GPU is about, by GPU; a job may have a turn beside an old debt."""

    def gpus_of(self, job: JobKey) -> list[str]:
        """Return the GPUs that a change of a job concerns."""
        return [gpu for gpu, holder in self.concerns.items() if holder == job.holder]

    def context_of(self, resident: Resident) -> int:
        """Return what a resident holds beside its model at most, in MiB."""
        return self._contexts.get(resident.uid, CONTEXT_MIB)

    def open_though_owed(self, gpu: str) -> bool:
        """True when the queue need not wait for a reload: the next turn goes first, or the last load failed."""
        memory = self._memory.get(gpu)
        return memory is not None and (memory.load_failed or memory.passed_on)

    def is_passed_on(self, gpu: str) -> bool:
        """True while a GPU waits for the next job to take it."""
        memory = self._memory.get(gpu)
        return memory is not None and memory.passed_on

    def see_end(self, pod: TrainingPod) -> None:
        """Remember how a trainer ended: what the watch has shown is final, and may be gone at the next look."""
        memory = self._memory.get(pod.gpu)
        if memory is not None and memory.lease.fence == pod.fence and pod.termination is not None:
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
                self.concerns.pop(gpu, None)
                return None
            owner = concerned(lease)
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
        self._remember_resident(memory, await ask_residents(self._do, memory.lease))
        return self._until_next_sample(memory)

    def _until_next_sample(self, memory: Memory) -> float:
        """Return the seconds until the next sample is due, counted from the last one: looks take time, too."""
        return max(0.0, memory.sampled_at + self._policy.sample_interval - time.monotonic())

    async def _read(self, gpu: str, memory: Memory | None) -> tuple[GpuLease | None, Survey | None]:
        """Read a GPU's Lease and all that it concerns, live; both None where there is no Lease.

        All is read at once by the Lease as it was known, and anew where that has changed. So a Lease that is returned
        was in force all the while that the rest was read. Where the dispatcher has written it meanwhile, all is read
        again: a turn that goes first is no reason to load.
        """
        if memory is None:
            lease, seen = await self._do.leases.get(gpu), None
        else:
            memory.changed = False
            lease, seen = await asyncio.gather(self._do.leases.get(gpu), survey(self._do, memory.lease))
        if self._memory.get(gpu) is not memory:
            return await self._read(gpu, self._memory.get(gpu))
        if lease is None:
            return None, None
        if memory is None or seen is None or lease != memory.lease:
            self._recall(lease).changed = False
            seen = await survey(self._do, lease)
            if self._is_overtaken(lease):
                return await self._read(gpu, self._memory.get(gpu))
        return lease, seen

    def _is_overtaken(self, lease: GpuLease) -> bool:
        """True where the dispatcher has given the GPU to a job since this Lease was read."""
        memory = self._memory.get(lease.gpu)
        return memory is not None and memory.lease.fence != lease.fence

    async def _view(self, lease: GpuLease, owner: JobKey | None, seen: Survey) -> TurnView:
        memory = self._recall(lease)
        self.concerns.pop(lease.gpu, None)
        if owner is not None:
            self.concerns[lease.gpu] = owner.holder
        self._remember_resident(memory, seen.readings)
        memory.unreadable_since = (memory.unreadable_since or time.monotonic()) if seen.unreadable else None
        if any(pod.live for pod in seen.pods):
            memory.forget_samples()
        successor, preemptor = self._waiting_for(lease.gpu)
        job, pods = seen.job, seen.pods
        view = TurnView(
            now=clock.now(),
            policy=self._policy,
            lease=lease,
            resident=seen.readings.resident,
            others=seen.readings.residents[1:],
            job=await self._admissions.granted(job) if job else None,
            pods=memory.with_ended(pods),
            samples=tuple(memory.samples),
            room=tuple(memory.room),
            free_before=memory.free_before,
            unload_message=memory.unload_message,
            failure=memory.failure,
            refusal=memory.refusal,
            refused_for=_since(memory.refused_since),
            load_failed=memory.load_failed,
            resident_missing_for=_since(memory.resident_missing_since),
            unwilling_for=_since(memory.unwilling_since),
            silent_for=_since(memory.silent_since),
            successor=successor,
            preemptor=preemptor,
            withdrawal=self._admissions.withdrawal(job) if job else "",
            unreadable=seen.unreadable,
            unreadable_for=_since(memory.unreadable_since),
        )
        return await self._with_pod(view, memory)

    async def _with_pod(self, view: TurnView, memory: Memory) -> TurnView:
        """Ask the training how it is, and its node where it does not say; at most once in a progress interval."""
        pod = view.own_pod
        if pod is None or pod.termination is not None:
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
        pod = await self._do.pods.explain(pod, view.now, self._policy.progress_interval)
        failing = is_start_failure(pod)
        memory.start_failing_since = (memory.start_failing_since or time.monotonic()) if failing else None
        return replace(
            view,
            pods=tuple(pod if each.uid == pod.uid else each for each in view.pods),
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

    def _remember_resident(self, memory: Memory, readings: ResidentReadings) -> None:
        resident = readings.resident
        if resident is None or any(each.report is None for each in readings.residents):
            memory.forget_samples()
            missing = resident is None
            memory.silent_since = None if missing else memory.silent_since or time.monotonic()
            memory.resident_missing_since = (memory.resident_missing_since or time.monotonic()) if missing else None
            return
        memory.resident_missing_since = memory.silent_since = None
        report = resident.report
        assert report is not None
        metrics.FREE_MEMORY.labels(memory.lease.gpu).set(report.free_mib)
        if memory.free_before is None and report.held_under != memory.lease.fence:
            memory.free_before, memory.allocated_before = report.free_mib, report.worker_allocated_mib
        self._learn_context(memory, resident, report)
        memory.take_sample(report, readings.at, keep=self._policy.samples, apart=self._policy.sample_interval)

    def _learn_context(self, memory: Memory, resident: Resident, report: GpuReport) -> None:
        """Learn from the first report after an unload; a later one may count a training's memory."""
        if report.held_under != memory.lease.fence or not memory.allocated_before or memory.free_before is None:
            return
        context = context_of(memory.free_before, memory.allocated_before, report.free_mib)
        memory.allocated_before = 0
        if context is not None:
            self._contexts[resident.uid] = context

    async def _apply(self, view: TurnView, decision: Decision) -> float | None:
        """Write the status and tell, then act: what is permitted is on record before it happens."""
        if not await self._record(view.lease, decision) or self._is_overtaken(view.lease):
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

    async def _record(self, lease: GpuLease, decision: Decision) -> bool:
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
                await self._tell(job, lease, decision.notices)
            else:
                await asyncio.gather(writing, self._tell(job, lease, decision.notices))
        except KubeError as error:
            if not (error.conflict or error.not_found):
                raise
            logger.debug("%s: looks again", error)
            return False
        return True

    async def _tell(self, job: Job, lease: GpuLease, notices: tuple[Notice, ...]) -> None:
        """Tell all at once; their times, and names, keep the order."""
        emit, facts = self._do.events.emit, turn.facts(lease)
        await asyncio.gather(*(emit(job.key, job.resource_version, lease.fence, each, facts) for each in notices))


def _since(moment: float | None) -> float:
    return 0.0 if moment is None else time.monotonic() - moment
