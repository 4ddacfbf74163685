"""Gives free GPUs to waiting jobs. It runs in one worker, so that no job is ever given two GPUs."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gpu_relay.api.v1alpha1 import YoloTrainingJobStatus
from gpu_relay.api.words import UNMANAGED_GPU, Phase, Reason
from gpu_relay.domain import status
from gpu_relay.domain.fairness import clocks_of, outage_since, serves_until
from gpu_relay.domain.lifetime import deadline, deadline_message
from gpu_relay.domain.model import GpuLease, Job, Policy, Preemptor
from gpu_relay.domain.news import is_same
from gpu_relay.domain.outcome import verdict
from gpu_relay.domain.preemption import preemptors
from gpu_relay.domain.queue import (
    Candidate,
    Placement,
    is_at_rest,
    place,
    successor,
    waiting_jobs,
    waits_since,
    wants_gpu,
)
from gpu_relay.domain.steps import Notice
from gpu_relay.domain.validation import objection
from gpu_relay.effects import clock, logs, metrics
from gpu_relay.effects.events import EventRecorder
from gpu_relay.effects.jobs import JobStore
from gpu_relay.effects.kube import Kube, KubeError
from gpu_relay.effects.leases import LeaseStore
from gpu_relay.engine.admissions import Admissions
from gpu_relay.engine.cache import Cache
from gpu_relay.engine.residents import KnownGpu, ResidentDirectory
from gpu_relay.engine.turns import Turns

logger = logging.getLogger(__name__)
_CLOCK_POLL = 1.0
_PROBE_POLL = 2.0
_RETRY = 0.5
_CLOCKED = frozenset({Reason.WAITING_FOR_BACKOFF, Reason.RESIDENT_SERVING, Reason.RESIDENT_BUSY})
"""Reasons to wait that end by themselves, with time."""


@dataclass(frozen=True)
class Dispatcher:
    """The queue's side of the engine."""

    kube: Kube
    cache: Cache
    jobs: JobStore
    leases: LeaseStore
    events: EventRecorder
    directory: ResidentDirectory
    turns: Turns
    admissions: Admissions
    policy: Policy
    look_at: Callable[[str], None]
    """Called with a GPU whose turn is to be looked at soon."""
    placements: list[Placement] = field(default_factory=list)
    """The queue as the last dispatch left it."""
    candidates: dict[str, Candidate] = field(default_factory=dict)
    """The GPUs as the last dispatch knew them."""
    preemptors: dict[str, Preemptor] = field(default_factory=dict)
    """The waiting job for which a preemptible owner of a GPU is to stop, by GPU."""

    def outcome(self) -> tuple[list[Placement], list[Candidate]]:
        """Return what the last dispatch decided, and the GPUs that it knew."""
        return self.placements, list(self.candidates.values())

    def successor(self, gpu: str) -> str:
        """Name the job that waits for a GPU and may have it next; empty when there is none."""
        candidate = self.candidates.get(gpu)
        if candidate is None:
            return ""
        queued = (each.job for each in self.placements if self._still_waits(each.job))
        job = successor(queued, candidate, clock.now(), self.policy)
        return str(job.key) if job else ""

    def _still_waits(self, job: Job) -> bool:
        known = self.cache.jobs.get(job.key.uid)
        waits = known is not None and known.status.phase in {None, Phase.QUEUED} and wants_gpu(known)
        return waits and self.admissions.admits(job)

    async def dispatch(self) -> float | None:
        """Give away what is free; return the seconds until the next dispatch."""
        self.preemptors.clear()
        leases = {lease.gpu: lease for lease in await self.leases.list()}
        self._find_forgotten(leases.values())
        involved = _involved(leases.values())
        jobs = self.cache.jobs.values()
        await self._settle_leftovers(jobs, involved)
        busy = frozenset(lease.holder for lease in leases.values()) | self._awaiting_reload(leases.values())
        waiting = await self._queue(jobs, busy)
        metrics.QUEUE_LENGTH.set(len(waiting))
        if not waiting:
            self.placements.clear()
            return None
        candidates = await self._look_around(waiting, leases)
        placements = self.placements[:] = place(waiting, candidates, clock.now(), self.policy)
        begun = sum([await self._acquire(p, p.gpu) for p in placements if p.gpu is not None])
        self.preemptors.update(preemptors(placements, candidates, self._owners(leases.values()), self.policy))
        for gpu in self.preemptors:
            self.look_at(gpu)
        missed = begun < sum(p.gpu is not None for p in placements)
        return _RETRY if missed else self._next_look(placements)

    def _find_forgotten(self, leases: Iterable[GpuLease]) -> None:
        """Have turns looked at that nobody follows: a call that seemed to fail may have taken the Lease."""
        for lease in leases:
            holder = lease.holder if lease.owner else lease.reload_owed
            if holder and holder not in self.turns.concerns:
                self.look_at(lease.gpu)

    def _owners(self, leases: Iterable[GpuLease]) -> dict[str, Job]:
        """Return the jobs that own GPUs, by Lease holder."""
        keys = [lease.owner for lease in leases]
        known = [self.cache.jobs.get(key.uid) for key in keys if key is not None]
        return {job.key.holder: job for job in known if job is not None}

    async def _queue(self, jobs: list[Job], busy: frozenset[str]) -> list[Job]:
        """Return the jobs that wait for a GPU, in order."""
        admitted = (job for job in jobs if self.admissions.admits(job))
        return [
            await self.admissions.granted(job)
            for job in waiting_jobs(admitted, busy, self.policy)
            if await self._may_wait(job)
        ]

    async def _look_around(self, waiting: list[Job], leases: dict[str, GpuLease]) -> list[Candidate]:
        """Return the GPUs there are, and remember them."""
        polite = any(job.spec.gpu.start_when == "ResidentIdle" for job in waiting)
        now = clock.now()

        def outdated(known: KnownGpu) -> bool:
            """True where it matters whether the resident is idle."""
            clocks = clocks_of(self.policy, known.resident)
            return polite or serves_until(leases.get(known.gpu), None, clocks, now) is not None

        found = await self.directory.known_gpus(outdated)
        if not found and not self.directory.any_pods():
            return self._remember([Candidate(UNMANAGED_GPU, None, {}, leases.get(UNMANAGED_GPU))])
        selective = any(job.node_selector for job in waiting)
        labels = await asyncio.gather(*(self._node_labels(known.resident.node, selective) for known in found))
        return self._remember(
            [
                Candidate(each.gpu, each.resident, seen, leases.get(each.gpu), self.turns.open_though_owed(each.gpu))
                for each, seen in zip(found, labels, strict=True)
            ]
        )

    def _remember(self, candidates: list[Candidate]) -> list[Candidate]:
        self.candidates.clear()
        self.candidates.update({candidate.gpu: candidate for candidate in candidates})
        return candidates

    async def _node_labels(self, node: str, wanted: bool) -> dict[str, str]:
        if not wanted:
            return {}
        try:
            raw = await self.kube.get(f"/api/v1/nodes/{node}")
        except KubeError as error:
            if error.not_found:
                return {}
            raise
        return dict(raw["metadata"].get("labels", {}))

    def _awaiting_reload(self, leases: Iterable[GpuLease]) -> frozenset[str]:
        """Holders whose turn has ended and whose resident is about to be back."""
        owed = (lease for lease in leases if lease.reload_owed and not self.turns.open_though_owed(lease.gpu))
        return frozenset(lease.reload_owed for lease in owed)

    async def _acquire(self, placement: Placement, gpu: Candidate) -> bool:
        """Take the Lease (law 5: ownership first), after a live look at the job (law 6)."""
        cached, now = placement.job, clock.now()
        out_since = outage_since(gpu.lease, clocks_of(self.policy, gpu.resident), now) or now
        job = await self.jobs.get(cached.key)
        if job is None or not is_same(job, cached):
            return False
        node = gpu.resident.node if gpu.resident else ""
        try:
            lease = await self.leases.acquire(gpu.gpu, node, gpu.lease, job.key, now, out_since)
        except KubeError as error:
            if error.conflict or error.already_exists:
                return False
            raise
        self.turns.see_lease(lease)
        self.look_at(gpu.gpu)
        with logs.about(gpu=gpu.gpu, fence=lease.fence, job=str(job.key)):
            logger.info("its turn begins")
        metrics.TURNS.labels(gpu.gpu).inc()
        metrics.QUEUE_WAIT.observe(max(0.0, (now - waits_since(job)).total_seconds()))
        return True

    async def _may_wait(self, job: Job) -> bool:
        """False for a job that fails here and now: its spec can never run, or its time is up."""
        now, ends = clock.now(), deadline(job)
        refusal = objection(job)
        if refusal is not None:
            reason, message = Reason.INVALID_SPEC, refusal
        elif ends is not None and ends <= now:
            reason, message = Reason.DEADLINE_EXCEEDED, deadline_message(job)
        else:
            if job.status.phase == Phase.SUSPENDED:
                await self._tell(job, Notice(Reason.RESUMED, "spec.suspend is false again; waits for its next turn"))
            return True
        await self._write(job, status.failed(job, now, reason, message))
        await self._tell(job, Notice(reason, message, warning=True))
        return False

    async def _tell(self, job: Job, notice: Notice) -> None:
        """Emit an Event that belongs to no turn: once for each change of the spec."""
        await self.events.emit(job.key, job.resource_version, job.generation, notice)

    async def _settle_leftovers(self, jobs: list[Job], involved: frozenset[str]) -> None:
        """Finish what no turn concerns: jobs suspended before one, or after one without a resident; jobs at rest."""
        now = clock.now()
        for job in jobs:
            if job.key.holder in involved or job.deleting:
                continue
            if job.status.phase == Phase.RELEASING:
                fact: status.Fact = ("Unknown", Reason.NO_RESIDENT, "the turn had no resident to hand back to")
                judged = verdict(job, now)
                if await self._write(job, status.settled(job, now, judged, fact)) and judged.phase != Phase.QUEUED:
                    notice = Notice(judged.reason, judged.message, warning=judged.phase == Phase.FAILED)
                    await self._tell(job, notice)
            elif job.spec.suspend and job.status.completion_time is None and job.status.phase != Phase.SUSPENDED:
                new = status.suspended(job, now)
                if await self._write(job, new):
                    await self._tell(job, Notice(Reason.SUSPENDED, "suspended before its turn; owns no GPU"))
            elif is_at_rest(job):
                await self._write(job, status.observed(job))

    async def _write(self, job: Job, new: YoloTrainingJobStatus) -> bool:
        """Write a status from the cache's view of a job; a conflict means that a newer view is on its way."""
        try:
            await self.jobs.write_status(job, new)
        except KubeError as error:
            if not (error.conflict or error.not_found):
                raise
            return False
        return True

    def _next_look(self, placements: list[Placement]) -> float | None:
        looks: list[float] = []
        if any(p.reason in _CLOCKED for p in placements):
            looks.append(_CLOCK_POLL)
        if self.directory.unknown_pods() or not self.directory.any_pods():
            looks.append(_PROBE_POLL)
        now = clock.now()
        ends = (deadline(placement.job) for placement in placements)
        looks.extend(max(0.0, (end - now).total_seconds()) for end in ends if end is not None)
        return min(looks, default=None)


def _involved(leases: Iterable[GpuLease]) -> frozenset[str]:
    """Holders that own a GPU, or whose turn has ended with a reload still owed."""
    return frozenset(holder for lease in leases for holder in (lease.holder, lease.reload_owed) if holder)
