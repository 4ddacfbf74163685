"""The leader's Lease: read and compare-and-swap, and the watchdog that ends a leader that hangs."""

import faulthandler
import time
from math import ceil

from gpu_relay.api import words
from gpu_relay.clients import clock
from gpu_relay.clients.kube import Kube, KubeError, Object
from gpu_relay.clients.resources import LEASES
from gpu_relay.domain.objects.leader import LeaderRecord, leader_record_of


class LeaderLease:
    """The one Lease of all operators in a namespace."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        """Create a client. `kube` must always permit writes: a candidate that takes the Lease is no leader yet."""
        self._kube = kube
        self._namespace = namespace
        self._path = LEASES.path(namespace)

    async def read(self) -> LeaderRecord | None:
        """Read the Lease, live; None if there is none. Raises KubeError."""
        try:
            return leader_record_of(await self._kube.get(f"{self._path}/{words.LEADER_LEASE}"))
        except KubeError as error:
            if error.not_found:
                return None
            raise

    async def take(self, before: LeaderRecord | None, identity: str, duration: float) -> LeaderRecord:
        """Record this process as the leader, or renew. Raises KubeError: conflict or already_exists."""
        if before is None:
            return leader_record_of(await self._kube.create(self._path, self._body(None, identity, duration, 0)))
        transitions = before.transitions + (before.holder != identity)
        body = self._body(before, identity, duration, transitions)
        return leader_record_of(await self._kube.replace(f"{self._path}/{words.LEADER_LEASE}", body))

    async def release(self, before: LeaderRecord) -> None:
        """Release the Lease, so that another candidate can take it immediately. Raises KubeError."""
        body = self._body(before, "", before.duration, before.transitions)
        await self._kube.replace(f"{self._path}/{words.LEADER_LEASE}", body)

    def _body(self, before: LeaderRecord | None, holder: str, duration: float, transitions: int) -> Object:
        now = clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        version = {"resourceVersion": before.version} if before else {}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": words.LEADER_LEASE, "namespace": self._namespace, **version},
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": ceil(duration),
                "leaseTransitions": transitions,
                "renewTime": now,
            },
        }


def monotonic() -> float:
    """Return the seconds of a clock that never goes back and, if the system has one, also counts while it sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Watchdog:
    """A watchdog that ends this process unless it is held again in time, even if Python itself hangs.

    It is that of the standard library: a thread that needs no interpreter writes the traceback of every thread to
    stderr and calls `_exit(1)`. Unlike the default action of a signal, that also ends the first process of a container.
    """

    def hold(self, seconds: float) -> None:
        """Set the deadline to so many seconds from now."""
        faulthandler.dump_traceback_later(max(0.001, seconds), exit=True)

    def disarm(self) -> None:
        """Remove the deadline."""
        faulthandler.cancel_dump_traceback_later()
