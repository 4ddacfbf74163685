"""Gives free GPUs to waiting jobs. It runs in one worker, so that no job is ever given two GPUs."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from gpu_relay.api.v1alpha1 import YoloTrainingJobStatus
from gpu_relay.api.words import UNMANAGED_GPU, Phase, Reason
from gpu_relay.domain import status
from gpu_relay.domain.fairness import clocks_of, outage_since, serves_until
from gpu_relay.domain.lifetime import deadline, deadline_message
from gpu_relay.domain.model import GpuLease, Job, Policy, Preemptor, uid_of_holder
from gpu_relay.domain.news import is_same
from gpu_relay.domain.outcome import verdict
from gpu_relay.domain.preemption import preemptors
from gpu_relay.domain.queue import (
    Candidate,
    Placement,
    give,
    is_at_rest,
    is_left_over,
    is_ready,
    place,
    queue_key,
    successor,
    waits_for_time,
    waits_since,
    wants_gpu,
)
from gpu_relay.domain.steps import Notice
from gpu_relay.domain.validation import objection
from gpu_relay.effects import clock, logs, metrics
from gpu_relay.effects.kube import Kube, KubeError
from gpu_relay.engine.actions import Effects
from gpu_relay.engine.admissions import Admissions
from gpu_relay.engine.cache import Cache, Part
from gpu_relay.engine.residents import KnownGpu
from gpu_relay.engine.turns import Turns

logger = logging.getLogger(__name__)
_CLOCK_POLL = 1.0
_PROBE_POLL = 2.0
_RETRY = 0.5


class Dispatcher:
    """The queue's side of the engine.

    It goes through the jobs that wait, and through those few that there is something to do about, never through all.
    """

    def __init__(
        self,
        kube: Kube,
        cache: Cache,
        effects: Effects,
        turns: Turns,
        admissions: Admissions,
        policy: Policy,
        look_at: Callable[[str], None],
    ) -> None:
        """`look_at` is called with a GPU whose turn is to be looked at soon."""
        self._kube = kube
        self._cache = cache
        self._do = effects
        self._turns = turns
        self._admissions = admissions
        self._policy = policy
        self._look_at = look_at
        self._ready = cache.jobs.part(lambda job: is_ready(job, policy))
        self._timed = cache.jobs.part(lambda job: is_ready(job, policy) and deadline(job) is not None)
        self._resumed = cache.jobs.part(lambda job: is_ready(job, policy) and job.status.phase == Phase.SUSPENDED)
        self._hopeless = cache.jobs.part(lambda job: wants_gpu(job) and objection(job) is not None)
        self._leftovers = cache.jobs.part(is_left_over)
        self._waiting: list[Job] = []
        self._busy: frozenset[str] = frozenset()
        """UIDs of the jobs that a turn, or the reload after it, concerned at the last dispatch."""
        self._candidates: dict[str, Candidate] = {}
        self._overtaken = False
        """A status could not be written since its job had changed meanwhile."""
        self.preemptors: dict[str, Preemptor] = {}
        """The waiting job for which a preemptible owner of a GPU is to stop, by GPU."""

    async def outcome(self) -> tuple[list[Placement], list[Candidate]]:
        """Return what each waiting job waits for now, by the GPUs as the last dispatch left them."""
        candidates = list(self._candidates.values())
        return place(await self._queue(), candidates, clock.now(), self._policy), candidates

    def successor(self, gpu: str) -> str:
        """Name the job that waits for a GPU and may have it next; empty when there is none."""
        candidate = self._candidates.get(gpu)
        if candidate is None:
            return ""
        queued = (job for job in self._waiting if self._still_waits(job))
        job = successor(queued, candidate, clock.now(), self._policy)
        return str(job.key) if job else ""

    def _still_waits(self, job: Job) -> bool:
        known = self._cache.jobs.get(job.key.uid)
        waits = known is not None and known.status.phase in {None, Phase.QUEUED} and wants_gpu(known)
        return waits and self._admissions.admits(job)

    async def dispatch(self) -> float | None:
        """Give away what is free; return the seconds until the next dispatch."""
        self.preemptors.clear()
        self._overtaken = False
        leases = {lease.gpu: lease for lease in await self._do.leases.list()}
        self._find_forgotten(leases.values())
        await self._settle_leftovers(_involved(leases.values()))
        self._busy = frozenset(uid_of_holder(lease.holder) for lease in leases.values()) | self._awaiting_reload(leases)
        await self._judge_the_few()
        waiting = self._waiting = await self._queue()
        metrics.QUEUE_LENGTH.set(len(waiting))
        if not waiting:
            self._find_unclaimed(leases)
            return _RETRY if self._overtaken else None
        candidates = await self._look_around(waiting, leases)
        given = give(waiting, candidates, clock.now(), self._policy)
        missed = [job for job, gpu in given if not await self._acquire(job, gpu)]
        self._find_unclaimed(leases)
        self._find_preemptors(waiting, candidates, leases)
        return _RETRY if missed or self._overtaken else self._next_look(waiting, candidates)

    def _find_preemptors(self, waiting: list[Job], candidates: list[Candidate], leases: dict[str, GpuLease]) -> None:
        owners = self._owners(leases.values())
        if not any(owner.spec.preemptible for owner in owners.values()):
            return
        placements = place(waiting, candidates, clock.now(), self._policy)
        self.preemptors.update(preemptors(placements, candidates, owners, self._policy))
        for gpu in self.preemptors:
            self._look_at(gpu)

    def _find_forgotten(self, leases: Iterable[GpuLease]) -> None:
        """Have turns looked at that nobody follows: a call that seemed to fail may have taken the Lease."""
        for lease in leases:
            holder = lease.holder if lease.owner else lease.reload_owed
            if holder and holder not in self._turns.concerns:
                self._look_at(lease.gpu)

    def _find_unclaimed(self, leases: Iterable[str]) -> None:
        """Have GPUs looked at that were passed on, and that nobody comes for any more: their residents are to load."""
        for gpu in leases:
            if self._turns.is_passed_on(gpu) and not self.successor(gpu):
                self._look_at(gpu)

    def _owners(self, leases: Iterable[GpuLease]) -> dict[str, Job]:
        """Return the jobs that own GPUs, by Lease holder."""
        keys = [lease.owner for lease in leases]
        known = [self._cache.jobs.get(key.uid) for key in keys if key is not None]
        return {job.key.holder: job for job in known if job is not None}

    async def _queue(self) -> list[Job]:
        """Return the jobs that wait for a GPU, in order."""
        waiting = [
            job for job in self._ready.values() if job.key.uid not in self._busy and self._admissions.admits(job)
        ]
        waiting.sort(key=queue_key)
        return [await self._admissions.granted(job) if job.local_queue else job for job in waiting]

    async def _judge_the_few(self) -> None:
        """Fail those that can never run, and those whose time is up; tell those that wait again."""
        now = clock.now()
        for job in self._waits_among(self._hopeless):
            await self._fail(job, now, Reason.INVALID_SPEC, str(objection(job)))
        for job in self._waits_among(self._timed):
            ends = deadline(job)
            if ends is not None and ends <= now:
                self._busy |= {job.key.uid}
                await self._fail(job, now, Reason.DEADLINE_EXCEEDED, deadline_message(job))
        for job in self._waits_among(self._resumed):
            await self._tell(job, Notice(Reason.RESUMED, "spec.suspend is false again; waits for its next turn"))

    def _waits_among(self, part: Part[Job]) -> list[Job]:
        jobs = part.values()
        return [job for job in jobs if job.key.uid not in self._busy and self._admissions.admits(job)]

    async def _fail(self, job: Job, now: datetime, reason: Reason, message: str) -> None:
        await self._write(job, status.failed(job, now, reason, message))
        await self._tell(job, Notice(reason, message, warning=True))

    async def _look_around(self, waiting: list[Job], leases: dict[str, GpuLease]) -> list[Candidate]:
        """Return the GPUs there are, and remember them."""
        polite = any(job.spec.gpu.start_when == "ResidentIdle" for job in waiting)
        now = clock.now()

        def outdated(known: KnownGpu) -> bool:
            """True where it matters whether the resident is idle."""
            clocks = clocks_of(self._policy, known.resident)
            return polite or serves_until(leases.get(known.gpu), None, clocks, now) is not None

        found = await self._do.directory.known_gpus(outdated)
        if not found and not self._do.directory.any_pods():
            return self._remember([Candidate(UNMANAGED_GPU, None, {}, leases.get(UNMANAGED_GPU))])
        selective = any(job.node_selector for job in waiting)
        labels = await asyncio.gather(*(self._node_labels(known.resident.node, selective) for known in found))
        return self._remember(
            [
                Candidate(each.gpu, each.resident, seen, leases.get(each.gpu), self._turns.open_though_owed(each.gpu))
                for each, seen in zip(found, labels, strict=True)
            ]
        )

    def _remember(self, candidates: list[Candidate]) -> list[Candidate]:
        self._candidates = {candidate.gpu: candidate for candidate in candidates}
        return candidates

    async def _node_labels(self, node: str, wanted: bool) -> dict[str, str]:
        if not wanted:
            return {}
        try:
            raw = await self._kube.get(f"/api/v1/nodes/{node}")
        except KubeError as error:
            if error.not_found:
                return {}
            raise
        return dict(raw["metadata"].get("labels", {}))

    def _awaiting_reload(self, leases: dict[str, GpuLease]) -> frozenset[str]:
        """UIDs of the jobs whose turn has ended and whose resident is about to be back."""
        owed = (lease for gpu, lease in leases.items() if lease.reload_owed and not self._turns.open_though_owed(gpu))
        return frozenset(uid_of_holder(lease.reload_owed) for lease in owed)

    async def _acquire(self, cached: Job, gpu: Candidate) -> bool:
        """Take the Lease (law 5: ownership first), after a live look at the job (law 6)."""
        now = clock.now()
        out_since = outage_since(gpu.lease, clocks_of(self._policy, gpu.resident), now) or now
        job = await self._do.jobs.get(cached.key)
        if job is None or not is_same(job, cached):
            return False
        node = gpu.resident.node if gpu.resident else ""
        try:
            lease = await self._do.leases.acquire(gpu.gpu, node, gpu.lease, job.key, now, out_since)
        except KubeError as error:
            if error.conflict or error.already_exists:
                return False
            raise
        self._busy |= {job.key.uid}
        self._candidates[gpu.gpu] = replace(gpu, lease=lease)
        self._turns.see_lease(lease)
        self._look_at(gpu.gpu)
        with logs.about(gpu=gpu.gpu, fence=lease.fence, job=str(job.key)):
            logger.info("its turn begins")
        metrics.TURNS.labels(gpu.gpu).inc()
        metrics.QUEUE_WAIT.observe(max(0.0, (now - waits_since(job)).total_seconds()))
        return True

    async def _tell(self, job: Job, notice: Notice) -> None:
        """Emit an Event that belongs to no turn: once for each change of the spec."""
        await self._do.events.emit(job.key, job.resource_version, job.generation, notice)

    async def _settle_leftovers(self, involved: frozenset[str]) -> None:
        """Finish what no turn concerns: jobs suspended before one, or after one without a resident; jobs at rest."""
        now = clock.now()
        for job in self._leftovers.values():
            if job.key.uid in involved:
                continue
            if job.status.phase == Phase.RELEASING:
                fact: status.Fact = ("Unknown", Reason.NO_RESIDENT, "the turn had no resident to hand back to")
                judged = verdict(job, now)
                if await self._write(job, status.settled(job, now, judged, fact)) and judged.phase != Phase.QUEUED:
                    notice = Notice(judged.reason, judged.message, warning=judged.phase == Phase.FAILED)
                    await self._tell(job, notice)
            elif is_at_rest(job):
                await self._write(job, status.observed(job))
            elif await self._write(job, status.suspended(job, now)):
                await self._tell(job, Notice(Reason.SUSPENDED, "suspended before its turn; owns no GPU"))

    async def _write(self, job: Job, new: YoloTrainingJobStatus) -> bool:
        """Write a status from the cache's view of a job; a conflict means that a newer view is on its way."""
        try:
            await self._do.jobs.write_status(job, new)
        except KubeError as error:
            if not (error.conflict or error.not_found):
                raise
            self._overtaken |= error.conflict
            return False
        return True

    def _next_look(self, waiting: list[Job], candidates: list[Candidate]) -> float | None:
        looks: list[float] = []
        now = clock.now()
        if waits_for_time(waiting, candidates, now, self._policy):
            looks.append(_CLOCK_POLL)
        if self._do.directory.unknown_pods() or not self._do.directory.any_pods():
            looks.append(_PROBE_POLL)
        ends = (deadline(job) for job in self._waits_among(self._timed))
        looks.extend(max(0.0, (end - now).total_seconds()) for end in ends if end is not None)
        return min(looks, default=None)


def _involved(leases: Iterable[GpuLease]) -> frozenset[str]:
    """UIDs of the jobs that own a GPU, or whose turn has ended with a reload still owed."""
    return frozenset(uid_of_holder(holder) for lease in leases for holder in (lease.holder, lease.reload_owed))
