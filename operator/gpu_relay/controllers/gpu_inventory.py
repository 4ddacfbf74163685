"""The known GPUs: what residents have reported, the state of their nodes, their Leases."""

import asyncio
from collections import Counter
from dataclasses import replace

from gpu_relay.api.words import UNMANAGED_GPU
from gpu_relay.controllers.resident_registry import KnownGpu
from gpu_relay.controllers.turn_actions import Effects
from gpu_relay.controllers.turn_controller import TurnController
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.outage import clocks_of, serves_until
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.candidate import Candidate, blocked_reason, pinned_nodes
from gpu_relay.domain.queue.claim import Claim

_FIRST = 100
"""Jobs of the queue for which the resident of a blocked GPU is asked again."""
_NODE_AGE = 10.0
"""Seconds for which the state of a node that a placement depends on is not read again."""


class GpuInventory:
    """Lists the GPUs that a waiting job can get."""

    def __init__(self, effects: Effects, turns: TurnController, policy: Policy) -> None:
        self._do = effects
        self._turns = turns
        self._policy = policy

    async def candidates(self, waiting: list[Claim], leases: dict[str, GpuLease]) -> list[Candidate]:
        """Return the known GPUs. Residents of blocked GPUs are asked again each time."""
        now = self._do.clock.now()
        polite = any(job.demand.start_when == "ResidentIdle" for job in waiting)
        kinds = {job.demand for job in waiting[:_FIRST]}

        def outdated(known: KnownGpu) -> bool:
            """True if the current report of the resident matters."""
            lease, resident = leases.get(known.gpu), known.resident
            if polite or serves_until(lease, None, clocks_of(self._policy, resident), now) is not None:
                return True
            candidate = Candidate(known.gpu, resident, {}, lease, context_mib=self._turns.context_of(resident))
            if not candidate.is_between_turns():
                return False
            return any(blocked_reason(each, candidate, now, self._policy) is not None for each in kinds)

        found = await self._do.directory.known_gpus(outdated)
        if not found:
            return await self._unmanaged(leases)
        selective = any(job.demand.node_labels or job.demand.needs_resident for job in waiting)
        listed = await asyncio.gather(*(self._candidate(known, leases, selective) for known in found))
        gpus = Counter(known.resident.node for known in found if known.resident.node)
        pinned = pinned_nodes(leases.values(), {known.gpu for known in found})
        nodes = [known.resident.node for known in found]
        return [
            replace(each, siblings=max(0, gpus[node] - 1), pinned=pinned.get(node, ""))
            for each, node in zip(listed, nodes, strict=True)
        ]

    async def refreshed(self, candidate: Candidate) -> Candidate:
        """Return a candidate by a live report of its resident, and of its node (law 6)."""
        if candidate.resident is None:
            return candidate
        resident, node = await asyncio.gather(
            self._do.directory.report(candidate.resident), self._do.nodes.state(candidate.resident.node)
        )
        labels = candidate.node_labels if node is None else node.labels
        return replace(candidate, resident=resident, node=node, node_labels=labels)

    async def _unmanaged(self, leases: dict[str, GpuLease]) -> list[Candidate]:
        """Return the unmanaged GPU if no resident has been known for long enough.

        A rollout leaves a moment without a resident pod, and a new process does not know the time before its start.
        """
        if self._do.directory.absent_for() <= self._policy.resident_grace:
            return []
        if any(map(self._do.directory.trusts, await self._do.pods.resident_namespaces())):
            return []
        return [Candidate(UNMANAGED_GPU, None, {}, leases.get(UNMANAGED_GPU))]

    async def _candidate(self, known: KnownGpu, leases: dict[str, GpuLease], selective: bool) -> Candidate:
        """Return a GPU with what matters of its node: its labels, or why it takes no pods."""
        node = self._do.nodes.known(known.resident.node)
        if selective or (node is not None and node.is_restricted):
            node = await self._do.nodes.state(known.resident.node, _NODE_AGE)
        return Candidate(
            known.gpu,
            known.resident,
            node.labels if node is not None else None if selective else {},
            leases.get(known.gpu),
            self._turns.open_despite_pending_reload(known.gpu),
            node,
            self._turns.context_of(known.resident),
        )
