"""A GPU that a waiting job may get, and why it does not get it: never, or not yet."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from gpu_relay.api import words
from gpu_relay.api.words import Reason
from gpu_relay.domain.objects.demand import Demand
from gpu_relay.domain.objects.lease import HOLDER_RESIDENT, GpuLease
from gpu_relay.domain.objects.node import NodeState, placement_error
from gpu_relay.domain.objects.resident import CONTEXT_MIB, GpuReport, Resident
from gpu_relay.domain.outage import clocks_of, is_idle, serves_until
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.quantities import duration, mib, timestamp
from gpu_relay.domain.queue.node_packing import fills
from gpu_relay.domain.training_windows import closed_reason
from gpu_relay.domain.untrusted import digits

SELF_HEALING = frozenset(
    {
        Reason.RESIDENT_SERVING, Reason.RESIDENT_BUSY, Reason.RESIDENT_UNREACHABLE, Reason.NODE_UNAVAILABLE,
        Reason.WAITING_FOR_MEMORY, Reason.OUTSIDE_TRAINING_WINDOW,
    }
)  # fmt: skip
"""Reasons not to assign a GPU yet that may end without an event in the cluster: they are checked again."""


@dataclass(frozen=True)
class Candidate:
    """A GPU that the scheduler knows; `resident` is None for the unmanaged one."""

    gpu: str
    resident: Resident | None
    node_labels: Mapping[str, str] | None
    """None if they are needed and cannot be read."""
    lease: GpuLease | None = None
    """None before its first turn."""
    skips_reload: bool = False
    """True if the next turn need not wait for the pending reload: it goes first, or the load has failed."""
    node: NodeState | None = None
    """Its node as it was last read; None if it was not or could not be read."""
    context_mib: int = CONTEXT_MIB
    """What the resident holds besides its model, as measured at its last unload; the maximum before one."""
    siblings: int = 0
    """How many other GPUs of its node residents report."""
    pinned: str = ""
    """The Workload whose pods may start on its node, for a GPU that this one has replaced; empty without one."""

    @property
    def node_gpus(self) -> int:
        """The GPUs of its node, as far as is known: by the residents there, and by the node's label."""
        return max(1 + self.siblings, digits((self.node_labels or {}).get(words.LABEL_GPU_COUNT)) or 1)

    @property
    def newest_fence(self) -> int:
        """The newest fence that the resident has seen, of whichever Lease; 0 if none, or if it does not report it."""
        report = self.resident.report if self.resident is not None else None
        return report.newest_fence if report is not None else 0

    @property
    def awaits_silent_resident(self) -> bool:
        """True if no job owns the GPU, and its resident does not answer, so that the pending reload cannot be done."""
        if self.lease is None or self.resident is None or self.is_between_turns():
            return False
        return self.lease.holder == HOLDER_RESIDENT and self.resident.report is None

    def is_between_turns(self) -> bool:
        """True if no job owns the GPU and the next turn need not wait for a reload."""
        if self.lease is None:
            return True
        return self.lease.holder == HOLDER_RESIDENT and (not self.lease.reload_pending or self.skips_reload)


def lends_to(resident: Resident, namespace: str) -> bool:
    """True if a resident lends its GPU to jobs of a namespace: its own, and those that its annotation lists."""
    allowed = resident.annotations.get(words.ANNOTATION_ALLOWED_NAMESPACES, "").split(",")
    return namespace == resident.namespace or any(name.strip() in {namespace, "*"} for name in allowed)


def filter_reason(demand: Demand, gpu: Candidate, policy: Policy) -> str | None:
    """Return why a job or Workload with this demand can never run on a GPU; None if it can."""
    resident = gpu.resident
    if resident is None:
        return "no resident measures the memory of this GPU" if demand.needs_resident else None
    if not lends_to(resident, demand.namespace):
        return (
            f"resident {resident} does not lend its GPU to namespace {demand.namespace}, only to its own and those of "
            f"its annotation {words.ANNOTATION_ALLOWED_NAMESPACES}"
        )
    if demand.needs_resident and (gpu.siblings + 1 < gpu.node_gpus or not fills(demand.pod_sets, gpu.node_gpus)):
        return _partly_used(demand, gpu, resident)
    return _wrong_label(demand, gpu, resident) or _too_small(demand, resident, policy)


def _partly_used(demand: Demand, gpu: Candidate, resident: Resident) -> str:
    """Return why a Workload cannot use all GPUs of a node."""
    if gpu.siblings + 1 < gpu.node_gpus:
        return f"node {resident.node} has {gpu.node_gpus} GPUs, and residents measure {gpu.siblings + 1} of them"
    return (
        f"node {resident.node} has {gpu.node_gpus} GPUs, of which the device plugin chooses those of a pod: a Workload "
        f"must use all GPUs of its nodes, and this one requests {demand.gpus_text}"
    )


def pinned_nodes(leases: Iterable[GpuLease], known: Collection[str]) -> dict[str, str]:
    """Return the nodes on which a Workload may start pods for a GPU that no resident reports, with the Workload.

    `known` are the GPUs that residents report. Pods of Workloads are pinned to a node, and use the GPU that is there.
    """
    owners = ((lease, lease.owner) for lease in leases if lease.gpu not in known)
    return {lease.node: str(owner) for lease, owner in owners if owner is not None and owner.is_workload}


def blocked_reason(demand: Demand, candidate: Candidate, now: datetime, policy: Policy) -> tuple[Reason, str] | None:
    """Return why a job or Workload with this demand does not get a GPU between turns yet; None if it does."""
    resident = candidate.resident
    if resident is None:
        return None
    report = resident.report
    if report is None:
        message = f"resident {resident} does not answer ({resident.error}): its GPU's memory is unknown"
        return Reason.RESIDENT_UNREACHABLE, message
    if candidate.pinned:
        message = f"Workload {candidate.pinned} has a turn on node {resident.node}, on a GPU that was replaced"
        return Reason.NODE_UNAVAILABLE, message
    wanted = _wanted(demand, candidate, resident, report, now, policy)
    if wanted is not None:
        return wanted
    error = _closed(demand, candidate, resident, policy)
    if error is not None:
        return Reason.NODE_UNAVAILABLE, error
    return None if report.hold is not None else too_full(demand, candidate, policy)


def _wanted(
    demand: Demand, candidate: Candidate, resident: Resident, report: GpuReport, now: datetime, policy: Policy
) -> tuple[Reason, str] | None:
    """Return that the resident needs its GPU now: by its training windows, its clocks, or the job's own choice."""
    closed = closed_reason(resident, now) if demand.start_when == "Immediately" else ""
    if closed:
        return Reason.OUTSIDE_TRAINING_WINDOW, closed
    clocks = clocks_of(policy, resident)
    until = serves_until(candidate.lease, resident, clocks, now)
    if until is not None:
        message = f"resident {resident} was unloaded for its maximum outage; it serves until {timestamp(until)}"
        return Reason.RESIDENT_SERVING, message
    if demand.start_when == "ResidentIdle":
        idle_for = duration(demand.idle_for) if demand.idle_for else clocks.idle_after
        if not is_idle(report, idle_for):
            message = f"starts when resident {resident} has had no request for {idle_for.total_seconds():g} s"
            return Reason.RESIDENT_BUSY, message
    return None


def _closed(demand: Demand, candidate: Candidate, resident: Resident, policy: Policy) -> str | None:
    """Return why the GPU's node takes no training pod now; None if it does."""
    if candidate.node_labels is None and demand.node_labels:
        return f"node {resident.node} cannot be read, so whether it has the labels of nodeSelector is unknown"
    if candidate.node_labels is None and demand.needs_resident:
        return f"node {resident.node} cannot be read, so how many GPUs it has is unknown"
    if candidate.node is None:
        return None
    tolerations = [*policy.tolerations, *json.loads(demand.tolerations)]
    return placement_error(candidate.node, candidate.gpu, tolerations)


def _wrong_label(demand: Demand, gpu: Candidate, resident: Resident) -> str | None:
    labels = gpu.node_labels
    for label, value in sorted(demand.node_labels):
        if labels is not None and labels.get(label) != value:
            return f"node {resident.node} lacks the label {label}={value}"
    for label, value in sorted(demand.resident_labels):
        if resident.labels.get(label) != value:
            return f"resident {resident} lacks the label {label}={value}"
    return None


def _too_small(demand: Demand, resident: Resident, policy: Policy) -> str | None:
    report = resident.report
    if report is None:
        return None
    most = report.total_mib - report.reserved_mib - report.residual_mib - policy.margin_mib
    if demand.need_mib > most:
        where = f"{report.name} on {resident.node}"
        kept = f" (its resident keeps {mib(report.residual_mib)} while it is unloaded)" if report.residual_mib else ""
        return f"{where} has at most {most:,} MiB for a job{kept}, this one needs {demand.need_mib:,} MiB"
    return None


def too_full(demand: Demand, candidate: Candidate, policy: Policy) -> tuple[Reason, str] | None:
    """Return that other processes hold so much of a GPU's memory that an unload would not help (law 9).

    During a turn its training is one of these processes: ask only between turns.
    """
    resident = candidate.resident
    report = resident.report if resident else None
    if resident is None or report is None:
        return None
    free = most_free_mib(report, candidate.context_mib)
    if free is None or free >= demand.need_mib + policy.margin_mib:
        return None
    held = report.worker_allocated_mib if report.model_loaded else 0
    own = f", the resident holds {mib(held)}" if held else ""
    return Reason.WAITING_FOR_MEMORY, (
        f"{report.name} on {resident.node}: {mib(report.free_mib)} free{own}; {mib(demand.need_mib)} and a margin of "
        f"{mib(policy.margin_mib)} needed. Other processes hold about {mib(max(0, report.used_mib - held))}: end them "
        f"(nvidia-smi on node {resident.node} lists them), or lower {demand.memory_field}"
    )


def most_free_mib(report: GpuReport, context_mib: int) -> int | None:
    """Return the most MiB that an unload can leave free; None if the resident does not report what it holds.

    An upper bound: `context_mib` of what belongs to no known process may be the resident's.
    """
    if not report.model_loaded:
        return report.free_mib if report.state == "unloaded" else None
    if not report.worker_allocated_mib:
        return None
    most = report.total_mib - report.reserved_mib - report.residual_mib
    return min(most, report.free_mib + report.worker_allocated_mib + context_mib)


def context_of(free_before: int, allocated_before: int, free_after: int) -> int | None:
    """Return what an unload freed besides the model, in MiB; None if other processes changed their memory, too."""
    context = free_after - free_before - allocated_before
    return context if 0 <= context <= CONTEXT_MIB else None
