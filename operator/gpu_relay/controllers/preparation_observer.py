"""What is known of GPUs and PVCs before a preparing pod is created for a job."""

import asyncio

from gpu_relay.controllers.resident_registry import KnownGpu
from gpu_relay.controllers.turn_actions import Effects
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.pvc import claim_names
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.candidate import Candidate
from gpu_relay.domain.queue.preparation_placement import Surroundings

_NODE_AGE = 60.0
"""Seconds for which a node's labels are not read again."""
_IN_FLIGHT = 4
"""Jobs whose surroundings are read in parallel, so that the calls of a handover do not wait for thousands."""


class PreparationObserver:
    """Reads a job's PVCs live; GPUs are those that residents have reported."""

    def __init__(self, effects: Effects, policy: Policy) -> None:
        self._do = effects
        self._policy = policy
        self._gate = asyncio.Semaphore(_IN_FLIGHT)
        self._offers: set[str] = set()
        """What the residents that have answered offer to jobs."""

    async def ask_residents(self) -> bool:
        """Ask the residents that never answered for their GPU; True if their offers have changed."""
        directory = self._do.directory
        offers = {_offer(known) for known in await directory.known_gpus(lambda _: False)}
        before, self._offers = self._offers, offers
        return offers != before

    async def read(self, job: Job) -> Surroundings:
        """Read what decides where a job's pod may run. Raise KubeError."""
        names, gpus = claim_names(job), self._do.directory.reported()
        async with self._gate:
            pvcs, candidates = await asyncio.gather(
                asyncio.gather(*(self._do.pvcs.get(job.key.namespace, name) for name in names)),
                asyncio.gather(*(self._candidate(job, known) for known in gpus)),
            )
        return Surroundings(
            gpus=candidates,
            has_residents=self._do.directory.absent_for() <= self._policy.resident_grace,
            all_reported=not self._do.directory.unknown_pods(),
            pvcs=dict(zip(names, pvcs, strict=True)),
        )

    async def _candidate(self, job: Job, known: KnownGpu) -> Candidate:
        """Return a GPU with its node's labels; a node that cannot be read counts as suitable."""
        wanted = job.node_selector
        node = await self._do.nodes.state(known.resident.node, _NODE_AGE) if wanted else None
        return Candidate(known.gpu, known.resident, wanted if node is None else node.labels)


def _offer(known: KnownGpu) -> str:
    """Return all that decides whether a GPU suits a job, to be compared."""
    resident, report = known.resident, known.resident.report
    sizes = (report.total_mib, report.reserved_mib) if report is not None else None
    return f"{known.gpu} {resident} {resident.node} {sorted(resident.labels.items())} {resident.annotations} {sizes}"
