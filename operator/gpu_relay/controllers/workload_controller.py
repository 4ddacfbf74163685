"""Answer the operator's admission checks of Kueue outside turns, and activate them.

In a turn, the turn controller answers. Without Kueue, or without an AdmissionCheck of the operator, this does nothing.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from gpu_relay.api.words import Reason
from gpu_relay.clients.kube import KubeError
from gpu_relay.controllers.apply import Applier, Change
from gpu_relay.controllers.runtime.isolation import Isolation
from gpu_relay.controllers.runtime.store import Cache
from gpu_relay.controllers.turn_actions import Effects
from gpu_relay.domain.decision import EvictWorkload, WithdrawReady
from gpu_relay.domain.kueue.check import Admit, Answer, Note, answer
from gpu_relay.domain.objects.checked_workload import READY, CheckedWorkload
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.quantities import mib
from gpu_relay.domain.queue.candidate import Candidate
from gpu_relay.domain.queue.placement import Placement
from gpu_relay.domain.turn.workload_events import WorkloadSubject, eviction

logger = logging.getLogger(__name__)
Object = dict[str, Any]


class WorkloadController:
    """Keeps the checks of Workloads that have no turn current."""

    def __init__(
        self,
        cache: Cache,
        effects: Effects,
        queue: Callable[[], Awaitable[tuple[list[Placement], list[Candidate]]]],
        changed: Callable[[JobKey], None],
        found: Callable[[], None],
    ) -> None:
        """`queue` returns what each job or Workload waits for.

        `changed` is called with a Workload that has changed. `found` is called when the first check appears, whose
        Workloads this process does not watch.
        """
        self._cache = cache
        self._checks = effects.checks
        self._applier = Applier(effects.jobs, effects.events)
        self._leases = effects.leases
        self._queue = queue
        self._changed = changed
        self._found = found
        self._open = cache.checked.part(lambda workload: workload.is_asked or _is_ready(workload))
        self._isolation = Isolation("checks", effects.clock.monotonic)

    def observe_check(self, raw: Object, *, deleted: bool) -> None:
        """Remember an AdmissionCheck from the watch."""
        watched = bool(self._checks.names)
        if self._checks.observe(raw, deleted=deleted) and not watched and not deleted:
            self._found()

    def observe(self, raw: Object, *, deleted: bool) -> None:
        """Store a Workload from the watch, if it has the operator's check, or had it."""
        if not self._checks.names:
            return
        workload = self._checks.read(raw)
        if workload.entry is not None or workload.key.uid in self._cache.checked:
            self._cache.observe_checked(workload, deleted=deleted)
            self._changed(workload.key)

    async def reconcile(self) -> float | None:
        """Activate the checks, and answer; return the seconds until the next pass, None to wait for a change."""
        await self._checks.activate()
        workloads = [each for each in self._open.values() if not self._isolation.defers(each.key.uid)]
        if not workloads:
            return self._isolation.requeue_after()
        placements, _ = await self._queue()
        reasons = {each.claim.key.uid: _message(each) for each in placements}
        owners = {lease.holder for lease in await self._leases.list()}
        for workload in workloads:
            with self._isolation.guard(workload.key.uid, str(workload.key)):
                owns = workload.key.holder in owners
                await self._answer(workload, owns_gpu=owns, waits_for=reasons.get(workload.key.uid, ""))
        return self._isolation.requeue_after()

    async def _answer(self, cached: CheckedWorkload, *, owns_gpu: bool, waits_for: str) -> None:
        """Answer one check; one that is Ready without a known Lease is read again first, and its Lease after it."""
        if owns_gpu:
            return
        workload: CheckedWorkload | None = cached
        if _is_ready(cached):
            workload = await self._checks.get(cached.key)
            owns_gpu = any(lease.holder == cached.key.holder for lease in await self._leases.list())
        elif cached.plain_pod:
            workload = await self._checks.completed(cached)
        found = answer(workload, owns_gpu=owns_gpu, waits_for=waits_for) if workload is not None else None
        if found is None:
            return
        logger.info("the check of Workload %s: %s", cached.key, type(found).__name__)
        try:
            await self._write(found)
        except KubeError as error:
            if not (error.conflict or error.not_found):
                raise
            logger.debug("%s: a newer version of the Workload follows", error)

    async def _write(self, found: Answer) -> None:
        match found:
            case Note(workload, message):
                await self._checks.note(workload, message)
            case Admit(workload, message):
                await self._checks.admit(workload, message)
            case WithdrawReady():
                await self._checks.withdraw(found)
            case EvictWorkload(workload):
                subject = WorkloadSubject(workload.key, workload.represents)
                number = max((fence for _, fence in workload.entry.turns), default=0) if workload.entry else 0
                await self._applier.apply(Change(subject, number, events=(eviction(found),), facts=subject.facts))
                await self._checks.evict(found)


def _is_ready(workload: CheckedWorkload) -> bool:
    """True for a Workload whose pods may run: a Lease must be behind it."""
    entry = workload.entry
    return entry is not None and entry.state == READY and not workload.finished and not workload.job_uid


def _message(placement: Placement) -> str:
    if placement.reason != Reason.WAITING_IN_QUEUE:
        return placement.message
    return f"waits for a GPU with {mib(placement.claim.demand.need_mib)}: others are ahead, or none is free"
