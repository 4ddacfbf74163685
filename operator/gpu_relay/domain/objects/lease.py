"""A GPU's Lease: which job owns the GPU, and whether a reload of its resident is pending."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from gpu_relay.api import words
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.objects.usage import Usage, account_of, usage_of
from gpu_relay.domain.quantities import timestamp

HOLDER_RESIDENT = "resident"


@dataclass(frozen=True)
class GpuLease:
    """The owner of a GPU. The Lease is its only record; everything else is observed each time."""

    name: str
    resource_version: str
    gpu: str
    """The GPU's UUID as the resident reports it, or `unmanaged`."""
    holder: str
    fence: int
    acquired: str | None
    renew_key: str
    node: str
    reload_pending: str
    """Holder of the turn after which the resident must still be loaded; empty if no reload is pending."""
    out_since: str | None = None
    """When the first turn of the current outage began; None if no turn has unloaded the resident."""
    served_since: str | None = None
    """When the resident was loaded after the last turn; None while it is unloaded."""
    unused_since: str | None = None
    """Since when no training pod has been live in the current outage; None while the resident has its GPU."""
    missing_since: str | None = None
    """Since when, between turns, no resident has reported this GPU; None if one does."""
    uid: str = ""
    usage_record: str = ""
    """How long each owner has had the GPU, as it is written: it is read only where it is needed."""

    @cached_property
    def usage(self) -> Usage | None:
        """Return how long each owner has had the GPU; None if that cannot be read."""
        return usage_of(self.usage_record)

    def usage_at(self, now: datetime) -> Usage:
        """Return how long each owner has had the GPU up to now, the present one included."""
        before = self.usage if self.usage is not None else Usage(now.astimezone(UTC))
        if self.gpu == words.UNMANAGED_GPU and self.owner is None:  # it stands for GPUs that have no resident
            return replace(before, counted_to=max(now.astimezone(UTC), before.counted_to))
        if self.holder == HOLDER_RESIDENT and self.reload_pending:
            return before.continued(account_of(self.reload_pending), now, reloading=True)
        return before.continued(account_of(self.holder), now)

    @property
    def owner(self) -> JobKey | None:
        """Return the job that owns the GPU; None while the resident does."""
        return JobKey.from_holder(self.holder)


def lease_of(raw: dict[str, Any]) -> GpuLease:
    """Read a GPU's Lease."""
    meta, spec = raw["metadata"], raw.get("spec", {})
    annotations = meta.get("annotations", {})
    acquired = spec.get("acquireTime")
    return GpuLease(
        name=meta["name"],
        resource_version=meta["resourceVersion"],
        gpu=meta["name"],
        holder=spec.get("holderIdentity", HOLDER_RESIDENT),
        fence=spec.get("leaseTransitions", 0),
        acquired=timestamp(datetime.fromisoformat(acquired)) if acquired else None,
        renew_key=annotations.get(words.ANNOTATION_RENEW_KEY, ""),
        node=annotations.get(words.ANNOTATION_NODE, ""),
        reload_pending=annotations.get(words.ANNOTATION_RELOAD_OWED, ""),
        out_since=annotations.get(words.ANNOTATION_OUT_SINCE),
        served_since=annotations.get(words.ANNOTATION_SERVED_SINCE),
        unused_since=annotations.get(words.ANNOTATION_UNUSED_SINCE),
        missing_since=annotations.get(words.ANNOTATION_MISSING_SINCE),
        uid=meta.get("uid", ""),
        usage_record=annotations.get(words.ANNOTATION_USAGE, ""),
    )
