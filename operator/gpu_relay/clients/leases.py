"""The client of GPUs' Leases: the only record of which job owns a GPU. Every change is a compare-and-swap."""

import secrets
from dataclasses import replace
from datetime import datetime

from gpu_relay.api import words
from gpu_relay.clients.kube import Kube, KubeError, Object
from gpu_relay.domain.objects.lease import HOLDER_RESIDENT, GpuLease, lease_of
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.objects.usage import Account, Usage, account_of, day_of
from gpu_relay.domain.quantities import parse_time, timestamp
from gpu_relay.observability.metrics import count_gpu_seconds

_FENCE_EPOCH = 1_704_067_200
"""2024-01-01: the first fence of a new Lease is the minutes since then, so fences grow even if a Lease is deleted."""


class LeaseStore:
    """The Leases in the operator's namespace, one for each GPU."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"

    async def list(self) -> list[GpuLease]:
        """Read all GPUs' Leases, live."""
        return [
            lease_of(raw)
            for raw in await self._kube.list(self._path, labels=f"{words.LABEL_MANAGED_BY}={words.MANAGED_BY}")
        ]

    async def get(self, gpu: str) -> GpuLease | None:
        """Read a GPU's Lease, live; None if the GPU has never had a turn."""
        try:
            return lease_of(await self._kube.get(f"{self._path}/{gpu}"))
        except KubeError as error:
            if error.not_found:
                return None
            raise

    async def acquire(
        self,
        gpu: str,
        node: str,
        before: GpuLease | None,
        job: JobKey,
        now: datetime,
        *,
        need_mib: int,
        newest_fence: int,
        out_since: datetime,
        unused_since: str | None,
    ) -> GpuLease:
        """Assign the GPU to a job, with a new fence. Raises KubeError: conflict or already_exists if another is faster.

        `need_mib` is the memory that the job requests. `newest_fence` is the newest that the resident has seen.
        `out_since` is the start of the outage of this turn; `unused_since` is the time since which no training pod has
        been live in that outage, None if that time begins now.
        """
        annotations = {
            words.ANNOTATION_NODE: node,
            words.ANNOTATION_RENEW_KEY: secrets.token_urlsafe(24),
            words.ANNOTATION_OUT_SINCE: timestamp(out_since),
            words.ANNOTATION_UNUSED_SINCE: unused_since or timestamp(now),
        }
        fence = next_fence(before, newest_fence, now)
        usage = before.usage_at(now) if before is not None else Usage(now)
        usage = replace(usage, need_mib=need_mib).added(day_of(now), account_of(job.holder), Account(turns=1))
        body = self._body(gpu, job.holder, fence, now, annotations, before, usage)
        if before is None:
            return lease_of(await self._kube.create(self._path, body))
        return await self._replace(before, body, now)

    async def give_back(
        self,
        lease: GpuLease,
        *,
        reload_pending: bool,
        resident_unloaded: bool,
        unused_since: str | None,
        used: Account,
        now: datetime,
    ) -> GpuLease:
        """Give the GPU back to the resident. The same update records a pending reload, so a crash cannot lose it.

        `unused_since` is the time since which no training pod has been live on the GPU. `used` is what the turn has
        used besides its time.
        """
        pending = {words.ANNOTATION_RELOAD_OWED: lease.holder} if reload_pending else {}
        unused = {words.ANNOTATION_UNUSED_SINCE: unused_since} if unused_since else {}
        usage = lease.usage_at(now).added(day_of(now), account_of(lease.holder), used)
        kept = pending | (_outage(lease) | unused if resident_unloaded else {})
        return await self._swap(lease, now, kept, replace(usage, need_mib=0))

    async def rewrite(self, lease: GpuLease, now: datetime) -> GpuLease:
        """Write a Lease that was read, with other values in what it records; its owner stays."""
        annotations = {
            words.ANNOTATION_NODE: lease.node,
            words.ANNOTATION_RENEW_KEY: lease.renew_key,
            words.ANNOTATION_RELOAD_OWED: lease.reload_pending,
            words.ANNOTATION_OUT_SINCE: lease.out_since,
            words.ANNOTATION_SERVED_SINCE: lease.served_since,
            words.ANNOTATION_UNUSED_SINCE: lease.unused_since,
            words.ANNOTATION_MISSING_SINCE: lease.missing_since,
        }
        kept = {name: value for name, value in annotations.items() if value}
        acquired = parse_time(lease.acquired) if lease.acquired else now
        body = self._body(lease.gpu, lease.holder, lease.fence, acquired, kept, lease, lease.usage_at(now))
        return await self._replace(lease, body, now)

    async def delete(self, lease: GpuLease) -> None:
        """Delete the Lease of a GPU that is gone, unless it has changed since it was read."""
        await self._kube.delete(f"{self._path}/{lease.gpu}", uid=lease.uid, resource_version=lease.resource_version)

    async def settle(self, lease: GpuLease, now: datetime) -> GpuLease:
        """Record that the resident is loaded: no reload is pending any more."""
        served = {words.ANNOTATION_SERVED_SINCE: timestamp(now)} if lease.out_since else {}
        return await self._swap(lease, now, _outage(lease) | served, lease.usage_at(now))

    async def _swap(self, lease: GpuLease, now: datetime, annotations: dict[str, str], usage: Usage) -> GpuLease:
        node = {words.ANNOTATION_NODE: lease.node}
        body = self._body(lease.gpu, HOLDER_RESIDENT, lease.fence, now, node | annotations, lease, usage)
        return await self._replace(lease, body, now)

    async def _replace(self, before: GpuLease, body: Object, now: datetime) -> GpuLease:
        written = lease_of(await self._kube.replace(f"{self._path}/{before.gpu}", body))
        count_gpu_seconds(before, now)
        return written

    def _body(
        self,
        gpu: str,
        holder: str,
        fence: int,
        now: datetime,
        annotations: dict[str, str],
        before: GpuLease | None,
        usage: Usage,
    ) -> Object:
        version = {"resourceVersion": before.resource_version} if before else {}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": gpu,
                "namespace": self._namespace,
                "labels": {words.LABEL_MANAGED_BY: words.MANAGED_BY, words.LABEL_GPU: gpu},
                "annotations": annotations | {words.ANNOTATION_USAGE: usage.written()},
                **version,
            },
            "spec": {
                "holderIdentity": holder,
                "leaseTransitions": fence,
                "acquireTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }


def next_fence(before: GpuLease | None, newest_seen: int, now: datetime) -> int:
    """Return the fence of a GPU's next turn: newer than that of its last one, and than any that the resident has seen.

    The resident may have seen newer ones than the Lease has: on a GPU that was replaced and had another Lease, or
    before the cluster's state was restored from a backup. It would reject an older one.
    """
    fence = before.fence + 1 if before else int(now.timestamp() - _FENCE_EPOCH) // 60
    return max(fence, newest_seen + 1)


def _outage(lease: GpuLease) -> dict[str, str]:
    return {words.ANNOTATION_OUT_SINCE: lease.out_since} if lease.out_since else {}
