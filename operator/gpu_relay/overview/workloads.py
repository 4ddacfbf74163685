"""Workloads of Kueue that have the operator's check: the phase of each, why it is in it, and its turn."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from gpu_relay.api.words import Phase, Reason
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.listed_workload import ListedWorkload
from gpu_relay.domain.quantities import parse_time

Leases = Mapping[str, GpuLease]


@dataclass(frozen=True)
class WorkloadTurn:
    """The present turn of a Workload."""

    gpu: str
    """As Leases are named."""
    node: str
    fence: int
    since: datetime | None


@dataclass(frozen=True)
class WorkloadState:
    """The phase of a Workload, and why it is in it. The reason is empty if the message has all that is known."""

    phase: Phase
    reason: str
    message: str


def turns_of(listed: ListedWorkload, leases: Leases | None) -> list[WorkloadTurn]:
    """Return the turns of a Workload, one for each GPU: by the Leases; where they may not be read, by its check."""
    if leases is not None:
        own = sorted((each for each in leases.values() if each.holder == listed.key.holder), key=lambda each: each.gpu)
        return [WorkloadTurn(each.gpu, each.node, each.fence, _time(each.acquired)) for each in own]
    if listed.workload.finished:
        return []
    since = _time(listed.ready_since)
    return [WorkloadTurn(gpu, listed.hosts.get(gpu, ""), fence, since) for gpu, fence in listed.pinned]


def turn_of(listed: ListedWorkload, leases: Leases | None) -> WorkloadTurn | None:
    """Return the turn of a Workload, of several that of its first GPU; None without one."""
    return next(iter(turns_of(listed, leases)), None)


def state_of(listed: ListedWorkload, turn: WorkloadTurn | None) -> WorkloadState:
    """Return the phase of a Workload, as a YoloTrainingJob has it, and why it is in it."""
    workload, entry = listed.workload, listed.workload.entry
    if turn is not None:
        if workload.stop:
            return WorkloadState(Phase.RELEASING, "", f"{workload.stop}; the GPU is being returned")
        trains = entry is not None and entry.pins(turn.gpu, turn.fence)
        return WorkloadState(Phase.TRAINING if trains else Phase.ACQUIRING, "", listed.message)
    if workload.finished:
        finished = listed.condition("Finished")
        if listed.succeeded:
            return WorkloadState(Phase.SUCCEEDED, Reason.COMPLETED.value, finished.message)
        return WorkloadState(Phase.FAILED, finished.reason, finished.message)
    if not workload.active:
        return WorkloadState(Phase.SUSPENDED, Reason.SUSPENDED.value, "spec.active of the Workload is false")
    if not workload.reserved:
        kind = "Evicted" if workload.evicted else "QuotaReserved"
        message = listed.condition(kind).message or "Kueue has reserved no quota for it"
        return WorkloadState(Phase.QUEUED, Reason.WAITING_FOR_KUEUE.value, message)
    return WorkloadState(Phase.QUEUED, "", workload.objection or listed.message)


def _time(stamp: str | None) -> datetime | None:
    return parse_time(stamp) if stamp else None
