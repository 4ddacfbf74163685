"""Assign free GPUs to waiting jobs, in one worker, so that no job gets two GPUs."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from gpu_relay.api.words import Phase, Reason
from gpu_relay.controllers.apply import Applier, Change, Outcome
from gpu_relay.controllers.gpu_inventory import GpuInventory
from gpu_relay.controllers.job_controller import JobController
from gpu_relay.controllers.kueue_controller import KueueController
from gpu_relay.controllers.preemption import Preemption
from gpu_relay.controllers.preflight import Preflight, Refusal
from gpu_relay.controllers.runtime.isolation import Isolation, soonest
from gpu_relay.controllers.runtime.store import Cache, FilteredIndex
from gpu_relay.controllers.turn_actions import Effects
from gpu_relay.controllers.turn_controller import TurnController
from gpu_relay.controllers.turn_start import TurnStart
from gpu_relay.domain.decision import EventRecord
from gpu_relay.domain.job import status
from gpu_relay.domain.job.deadlines import deadline, deadline_message
from gpu_relay.domain.job.validation import objection
from gpu_relay.domain.objects.checked_workload import CheckedWorkload
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.owner import uid_of_holder
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.candidate import Candidate
from gpu_relay.domain.queue.claim import Claim
from gpu_relay.domain.queue.order import queue_key, wants_gpu
from gpu_relay.domain.queue.placement import (
    Held,
    Placement,
    assign,
    explain_placement,
    is_ready,
    longest_wait,
    next_for,
    waits_for_time,
)
from gpu_relay.observability import metrics
from gpu_relay.pods.pod_builder import TrainerDefaults

logger = logging.getLogger(__name__)
_CLOCK_POLL = 1.0
_PROBE_POLL = 2.0
_RETRY = 0.5


class Scheduler:
    """Schedules the jobs that wait for a GPU. A pass never iterates over all jobs."""

    def __init__(
        self,
        cache: Cache,
        effects: Effects,
        turns: TurnController,
        admissions: KueueController,
        policy: Policy,
        defaults: TrainerDefaults,
        requeue: Callable[[str], None],
    ) -> None:
        """`requeue` is called with a GPU to reconcile soon."""
        self._cache = cache
        self._do = effects
        self._inventory = GpuInventory(effects, turns, policy)
        self._clock = effects.clock
        self._isolation = Isolation("dispatch", effects.clock.monotonic)
        self._applier = Applier(effects.jobs, effects.events)
        self._conflicts = False
        """True if a status of this pass was not written because its job had changed."""
        self._job_controller = JobController(cache, self._apply, self._isolation)
        self._preflight = Preflight(effects.jobs, effects.pods, effects.pvcs, defaults, effects.clock)
        self._start = TurnStart(effects, self._inventory, self._preflight, turns, policy)
        self._turns = turns
        self._kueue = admissions
        self._policy = policy
        self._requeue = requeue
        self._ready = cache.jobs.part(lambda job: is_ready(job, policy))
        self._timed = cache.jobs.part(lambda job: is_ready(job, policy) and deadline(job) is not None)
        self._resumed = cache.jobs.part(lambda job: is_ready(job, policy) and job.status.phase == Phase.SUSPENDED)
        self._hopeless = cache.jobs.part(lambda job: wants_gpu(job) and objection(job) is not None)
        self._asked = cache.checked.part(lambda workload: workload.is_asked and not workload.job_uid)
        self._waiting: list[Claim] = []
        self._held: Held = {}
        """Why some of them are held back."""
        self._busy: frozenset[str] = frozenset()
        """UIDs of the jobs that owned a GPU at the last pass."""
        self._candidates: dict[str, Candidate] = {}
        self.preemption = Preemption(cache, effects.clock, policy)

    async def outcome(self) -> tuple[list[Placement], list[Candidate]]:
        """Return what each waiting job waits for now, by the GPUs as the last pass left them."""
        candidates = list(self._candidates.values())
        placements = explain_placement(await self._queue(), candidates, self._clock.now(), self._policy, self._held)
        return (placements if candidates else list(map(self._without_gpus, placements))), candidates

    def _without_gpus(self, placement: Placement) -> Placement:
        """Return a placement that explains why no GPU is known."""
        if placement.reason != Reason.WAITING_IN_QUEUE:
            return placement
        if self._do.directory.any_pods():
            message = "no resident has reported its GPU yet"
            return replace(placement, reason=Reason.RESIDENT_UNREACHABLE, message=message)
        grace = f"{self._policy.resident_grace:.0f} s"
        message = f"no resident pod exists; jobs start without a resident when there has been none for {grace}"
        return replace(placement, reason=Reason.RESIDENT_MISSING, message=message)

    def successor(self, gpu: str) -> str:
        """Return the name of the waiting job that can get a GPU next; empty if there is none."""
        candidate = self._candidates.get(gpu)
        if candidate is None:
            return ""
        queued = (job for job in self._waiting if self._still_waits(job))
        job = next_for(queued, candidate, self._clock.now(), self._policy, self._held)
        return str(job.key) if job else ""

    def _still_waits(self, job: Claim) -> bool:
        if isinstance(job, CheckedWorkload):
            return job.key.uid in self._asked and job.key.uid not in self._busy
        known = self._cache.jobs.get(job.key.uid)
        waits = known is not None and known.status.phase in {None, Phase.QUEUED} and wants_gpu(known)
        return waits and self._kueue.admits(job)

    async def schedule_once(self) -> float | None:
        """Assign what is free; return the seconds until the next pass."""
        self.preemption.preemptors.clear()
        self._conflicts = False
        leases = {lease.gpu: lease for lease in await self._do.leases.list()}
        self._requeue_unfollowed(leases.values())
        await self._job_controller.settle(_involved(leases.values()), self._clock.now())
        self._busy = frozenset(uid_of_holder(lease.holder) for lease in leases.values())
        await self._nominate()
        waiting = self._waiting = await self._queue()
        self._held = self._held_back(waiting)
        metrics.QUEUE_LENGTH.set(len(waiting))
        metrics.QUEUE_OLDEST.set(longest_wait(waiting, self._clock.now()))
        if not waiting:
            self.preemption.find([], [], leases.values(), self._held)
            self._requeue_without_successor(leases)
            return _RETRY if self._conflicts else self._isolation.requeue_after()
        candidates = self._remember(await self._inventory.candidates(waiting, leases))
        given = assign(waiting, candidates, self._clock.now(), self._policy, self._held)
        taken = await asyncio.gather(*(self._try(job, gpus) for job, gpus in given))
        self._held = self._held_back(waiting)
        self._requeue_without_successor(leases)
        self.preemption.find(waiting, candidates, leases.values(), self._held)
        for owned in self.preemption.preemptors:
            self._requeue(owned)
        requeue_after = _RETRY if self._conflicts or not all(taken) else self._next_pass(waiting, candidates)
        return soonest(requeue_after, self._isolation.requeue_after())

    def _requeue_unfollowed(self, leases: Iterable[GpuLease]) -> None:
        """Requeue turns that no controller follows: a call that seemed to fail may have taken the Lease."""
        for lease in leases:
            holder = lease.holder if lease.owner else lease.reload_pending
            if holder and self._turns.concerns.get(lease.gpu) != holder:
                self._requeue(lease.gpu)

    def _requeue_without_successor(self, leases: Iterable[str]) -> None:
        """Requeue GPUs that were handed over and have no next job: their residents must load."""
        for gpu in leases:
            if self._turns.is_handed_over(gpu) and not self.successor(gpu):
                self._requeue(gpu)

    def _held_back(self, waiting: list[Claim]) -> Held:
        """Return why some do not get a GPU for now, whichever is free."""
        jobs = [each for each in waiting if isinstance(each, Job)]
        return {**self._preflight.held(jobs), **self._turns.pauses.held()}

    async def _workloads(self) -> list[Claim]:
        """Return the Workloads that wait for a GPU."""
        found: list[Claim] = []
        for each in self._asked.values():
            if each.key.uid in self._busy or self._isolation.defers(each.key.uid):
                continue
            with self._isolation.guard(each.key.uid, str(each.key)):
                workload = await self._do.checks.completed(each)
                found += [workload] if workload.waits else []
        return found

    async def _queue(self) -> list[Claim]:
        """Return what waits wait for a GPU, in order."""
        waiting = [
            job
            for job in self._ready.values()
            if job.key.uid not in self._busy and self._kueue.admits(job) and not self._isolation.defers(job.key.uid)
        ]
        jobs = [await self._kueue.granted(job) if job.local_queue else job for job in waiting]
        return sorted([*jobs, *await self._workloads()], key=queue_key)

    async def _nominate(self) -> None:
        """Fail jobs that can never run or are past their deadline; publish which jobs wait again."""
        now = self._clock.now()
        for job in self._waits_among(self._hopeless):
            with self._isolation.guard(job.key.uid, str(job.key)):
                await self._fail(job, now, Reason.INVALID_SPEC, str(objection(job)))
        for job in self._waits_among(self._timed):
            ends = deadline(job)
            if ends is not None and ends <= now:
                self._busy |= {job.key.uid}
                with self._isolation.guard(job.key.uid, str(job.key)):
                    await self._fail(job, now, Reason.DEADLINE_EXCEEDED, deadline_message(job))
        for job in self._waits_among(self._resumed):
            with self._isolation.guard(job.key.uid, str(job.key)):
                await self._applier.publish_resumption(job)

    def _waits_among(self, part: FilteredIndex[Job]) -> list[Job]:
        jobs = (job for job in part.values() if job.key.uid not in self._busy and self._kueue.admits(job))
        return [job for job in jobs if not self._isolation.defers(job.key.uid)]

    def _remember(self, candidates: list[Candidate]) -> list[Candidate]:
        self._candidates = {candidate.gpu: candidate for candidate in candidates}
        return candidates

    async def _try(self, claim: Claim, gpus: tuple[Candidate, ...]) -> bool:
        """Begin a job's or Workload's turn; after an error, leave the job or Workload out for a while (law 8)."""
        with self._isolation.guard(claim.key.uid, str(claim.key)):
            return await self._begin(claim, gpus)
        return False

    async def _begin(self, claim: Claim, known: tuple[Candidate, ...]) -> bool:
        now = self._clock.now()
        begun = await self._start.begin(claim, known, now)
        if isinstance(begun, Refusal):
            await self._refuse(claim, begun, now)
        if not isinstance(begun, tuple):
            return False
        self._busy |= {claim.key.uid}
        for gpu in begun:
            self._candidates[gpu.gpu] = gpu
            self._requeue(gpu.gpu)
        return True

    async def _refuse(self, job: Claim, refusal: Refusal, now: datetime) -> None:
        """Fail a job that can never have a pod; hold any other one back, without an unload."""
        if isinstance(job, CheckedWorkload):
            self._turns.pauses.hold(job.key.uid, refusal.message)
            return
        if refusal.final:
            await self._fail(job, now, refusal.reason, refusal.message)
            return
        self._preflight.hold(job, refusal)
        await self._apply(Change(job, job.generation, events=(EventRecord(refusal.reason, refusal.message, True),)))

    async def _fail(self, job: Job, now: datetime, reason: Reason, message: str) -> None:
        """End a job that will not have a turn."""
        event = EventRecord(reason, message, warning=True)
        await self._apply(Change(job, job.generation, status.failed(job, now, reason, message), (event,)))

    async def _apply(self, change: Change) -> Outcome:
        outcome = await self._applier.apply(change)
        self._conflicts |= outcome is Outcome.CONFLICT
        return outcome

    def _next_pass(self, waiting: list[Claim], candidates: list[Candidate]) -> float | None:
        waits: list[float] = []
        now = self._clock.now()
        if waits_for_time(waiting, candidates, now, self._policy):
            waits.append(_CLOCK_POLL)
        if self._do.directory.unknown_pods() or not self._do.directory.any_pods():
            waits.append(_PROBE_POLL)
        held_until = self._preflight.next_check()
        resumed = soonest(held_until, self._turns.pauses.next_end())
        waits.extend([] if resumed is None else [resumed])
        ends = (deadline(job) for job in self._waits_among(self._timed))
        waits.extend(max(0.0, (end - now).total_seconds()) for end in ends if end is not None)
        return min(waits, default=None)


def _involved(leases: Iterable[GpuLease]) -> frozenset[str]:
    """Return the UIDs of the jobs that own a GPU, or whose turn has ended with a pending reload."""
    return frozenset(uid_of_holder(holder) for lease in leases for holder in (lease.holder, lease.reload_pending))
