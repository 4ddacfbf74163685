"""Begin a turn: take the Lease of a GPU for a job or Workload, after a live read of all that this depends on."""

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import datetime

from gpu_relay.api.words import Reason
from gpu_relay.clients.kube import KubeError
from gpu_relay.controllers.gpu_inventory import GpuInventory
from gpu_relay.controllers.preflight import Preflight, Refusal
from gpu_relay.controllers.turn_actions import Effects
from gpu_relay.controllers.turn_controller import TurnController
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.outage import clocks_of, outage_since
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.candidate import Candidate, blocked_reason, filter_reason, too_full
from gpu_relay.domain.queue.claim import Claim
from gpu_relay.domain.queue.placement import waits_since
from gpu_relay.domain.queue.status_throttle import is_same
from gpu_relay.observability import logs, metrics

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TurnStart:
    """Begins turns. It decides nothing about the order of the queue."""

    effects: Effects
    inventory: GpuInventory
    preflight: Preflight
    turns: TurnController
    policy: Policy

    async def begin(
        self, claim: Claim, known: tuple[Candidate, ...], now: datetime
    ) -> tuple[Candidate, ...] | Refusal | None:
        """Take the Leases (law 5: ownership first), after live reads (law 6).

        Return the GPUs with their new Leases; why the turn is refused; or None if what was read no longer permits it.
        If another client is faster, a Workload keeps fewer Leases than it needs, and its turns end again. Raise
        KubeError if the API server is unavailable.
        """
        unchanged, gpus, refusal = await asyncio.gather(
            self._is_unchanged(claim),
            asyncio.gather(*map(self.inventory.refreshed, known)),
            self._check(claim, known, now),
        )
        if not unchanged or any(self._is_unfit(claim, gpu, now) for gpu in gpus):
            return None
        if refusal is not None:
            return refusal
        metrics.QUEUE_WAIT.labels(claim.key.kind).observe(max(0.0, (now - waits_since(claim)).total_seconds()))
        begun: list[Candidate] = []
        for gpu in gpus:
            taken = await self._acquire(claim, gpu, now)
            if taken is None:
                return tuple(begun) or None
            begun.append(taken)
        return tuple(begun)

    async def _is_unchanged(self, claim: Claim) -> bool:
        """True if a live read of the job or Workload shows that it still waits, with the same demand."""
        if isinstance(claim, Job):
            job = await self.effects.jobs.get(claim.key)
            return job is not None and is_same(job, claim)
        workload = await self.effects.checks.get(claim.key)
        return workload is not None and workload.waits and workload.demand == claim.demand

    async def _check(self, claim: Claim, gpus: tuple[Candidate, ...], now: datetime) -> Refusal | None:
        """Check the training pod of a job, or that nodes can get the label by which a Workload's pods find them."""
        if isinstance(claim, Job):
            return await self.preflight.check(claim, gpus[0], now)
        for node in {gpu.resident.node for gpu in gpus if gpu.resident is not None}:
            try:
                await self.effects.nodes.check_pin(node)
            except KubeError as error:
                if error.unavailable:
                    raise
                return Refusal(Reason.NODE_UNAVAILABLE, f"node {node} cannot have a label for its pods: {error}")
        return None

    def _is_unfit(self, claim: Claim, gpu: Candidate, now: datetime) -> bool:
        """True if live readings of a GPU show that an unload would not help."""
        demand, policy = claim.demand, self.policy
        if gpu.resident is None:
            return False
        unfit = too_full(demand, gpu, policy) or filter_reason(demand, gpu, policy)
        return bool(unfit or blocked_reason(demand, gpu, now, policy))

    async def _acquire(self, claim: Claim, gpu: Candidate, now: datetime) -> Candidate | None:
        out_since = outage_since(gpu.lease, clocks_of(self.policy, gpu.resident), now) or now
        unused_since = gpu.lease.unused_since if gpu.lease and self.turns.is_handed_over(gpu.gpu) else None
        node = gpu.resident.node if gpu.resident else ""
        try:
            lease = await self.effects.leases.acquire(
                gpu.gpu, node, gpu.lease, claim.key, now,
                need_mib=claim.demand.need_mib, newest_fence=gpu.newest_fence, out_since=out_since,
                unused_since=unused_since,
            )  # fmt: skip
        except KubeError as error:
            if error.conflict or error.already_exists:
                return None
            raise
        self.turns.observe_lease(lease)
        with logs.about(gpu=gpu.gpu, fence=lease.fence, job=str(claim.key)):
            logger.info("its turn begins")
        metrics.TURNS.labels(gpu.gpu, claim.key.kind).inc()
        return replace(gpu, lease=lease)
