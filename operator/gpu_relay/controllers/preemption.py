"""Which waiting job preempts the owner of a GPU, pass by pass of the scheduler."""

from collections.abc import Collection, Sequence

from gpu_relay.clients.clock import Clock
from gpu_relay.controllers.runtime.store import Cache
from gpu_relay.domain.objects.demand import Demand
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.candidate import Candidate
from gpu_relay.domain.queue.claim import Claim
from gpu_relay.domain.queue.placement import Held, explain_placement
from gpu_relay.domain.queue.preemption import OutOfUse, out_of_use, preemptors
from gpu_relay.domain.turn_view import Preemptor


class Preemption:
    """Finds preemptors, and remembers since when GPUs have been out of use."""

    def __init__(self, cache: Cache, clock: Clock, policy: Policy) -> None:
        self._cache = cache
        self._clock = clock
        self._policy = policy
        self._since: dict[tuple[str, Demand], float] = {}
        """Since when a GPU has been out of use for jobs of a demand (monotonic, seconds); its loss does no harm."""
        self.preemptors: dict[str, Preemptor] = {}
        """The waiting job that preempts the owner of a GPU, by GPU."""

    def find(
        self, waiting: Sequence[Claim], candidates: Sequence[Candidate], leases: Collection[GpuLease], held: Held
    ) -> None:
        """Find the preemptors of a pass, of which `held` are held back."""
        now = self._clock.now()
        unused = self._for_long(out_of_use(waiting, candidates, now, self._policy))
        owners = self._owners(leases)
        if any(owner.spec.preemptible for owner in owners.values()):
            placements = explain_placement(waiting, candidates, now, self._policy, held)
            self.preemptors = preemptors(placements, candidates, owners, self._policy, unused)

    def _for_long(self, unused: OutOfUse) -> OutOfUse:
        """Return which GPUs have been out of use for longer than the restart of a resident may take."""
        now = self._clock.monotonic()
        self._since = {key: self._since.get(key, now) for key in unused}
        return {key for key, since in self._since.items() if now - since > self._policy.resident_grace}

    def _owners(self, leases: Collection[GpuLease]) -> dict[str, Job]:
        """Return the jobs that own GPUs, by Lease holder."""
        keys = [lease.owner for lease in leases]
        known = [self._cache.jobs.get(key.uid) for key in keys if key is not None]
        return {job.key.holder: job for job in known if job is not None}
