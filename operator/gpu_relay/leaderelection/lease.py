"""The leader's Lease: read and compare-and-swap, and the switch that ends a leader which hangs."""

import faulthandler
import time
from math import ceil

from gpu_relay.api import words
from gpu_relay.clients import clock
from gpu_relay.clients.kube import Kube, KubeError, Object
from gpu_relay.clients.resources import LEASES
from gpu_relay.leaderelection.candidacy import LeaderRecord


class LeaderLease:
    """The one Lease of all operators in a namespace."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        """`kube` must be allowed to write at all times: whoever takes the Lease does not lead yet."""
        self._kube = kube
        self._namespace = namespace
        self._path = LEASES.path(namespace)

    async def read(self) -> LeaderRecord | None:
        """Read it, live; None where there is none. Raises KubeError."""
        try:
            return _record(await self._kube.get(f"{self._path}/{words.LEADER_LEASE}"))
        except KubeError as error:
            if error.not_found:
                return None
            raise

    async def take(self, before: LeaderRecord | None, identity: str, duration: float) -> LeaderRecord:
        """Write us down as the leader, or renew; KubeError (conflict or already_exists) when somebody was faster."""
        if before is None:
            return _record(await self._kube.create(self._path, self._body(None, identity, duration, 0)))
        transitions = before.transitions + (before.holder != identity)
        body = self._body(before, identity, duration, transitions)
        return _record(await self._kube.replace(f"{self._path}/{words.LEADER_LEASE}", body))

    async def release(self, before: LeaderRecord) -> None:
        """Let another take it at once. Raises KubeError."""
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


def _record(raw: Object) -> LeaderRecord:
    spec = raw.get("spec", {})
    return LeaderRecord(
        version=raw["metadata"]["resourceVersion"],
        holder=spec.get("holderIdentity", ""),
        duration=spec.get("leaseDurationSeconds", 1),
        transitions=spec.get("leaseTransitions", 0),
    )


def monotonic() -> float:
    """Return seconds of a clock that never goes back and, where the system has such a one, counts a machine's sleep."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class DeadMansSwitch:
    """Ends this process unless it is held again in time, even where Python itself hangs.

    The standard library's watchdog does it: a thread that needs no interpreter writes every thread's traceback to
    stderr and calls `_exit(1)`. Unlike a signal's default action it also ends a container's first process.
    """

    def hold(self, seconds: float) -> None:
        """Let the process live for so long from now."""
        faulthandler.dump_traceback_later(max(0.001, seconds), exit=True)

    def disarm(self) -> None:
        """Let the process live."""
        faulthandler.cancel_dump_traceback_later()
