"""Each GPU: its owner, its memory, its resident and its queue. The fields are those of `kubectl relay gpus -o json`."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gpu_relay.api import words
from gpu_relay.api.words import Phase
from gpu_relay.domain.objects.checked_workload import CheckedWorkload
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.objects.represented import Represented
from gpu_relay.domain.outage import clocks_of
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.quantities import parse_time
from gpu_relay.domain.queue.claim import Claim
from gpu_relay.overview.jobs import expected_end, expected_start
from gpu_relay.overview.ownership import GpuOwnership, Holder, gpu_ownerships, job_on_gpu, workload_on_gpus
from gpu_relay.overview.queue import could_serve, fits_nowhere, positions, preparing, waiting
from gpu_relay.overview.snapshot import ClusterSnapshot
from gpu_relay.overview.workloads import state_of, turn_of

_POLICY = Policy()


@dataclass(frozen=True)
class Memory:
    """Memory of a GPU in MiB, as its resident has just measured it."""

    total: int
    reserved: int
    used: int
    free: int


@dataclass(frozen=True)
class Owner:
    """The owner of a GPU. `job` is None for the resident; `since` is None where it is not recorded."""

    job: JobKey | None
    phase: str
    epoch: str
    """`12/100`; empty before the first."""
    since: datetime | None
    until: datetime | None
    """When the training is expected to end; None while that is unknown."""
    represents: Represented | None = field(default=None, metadata={"omit_default": True})
    """The object that a Workload represents; None for a job, and where that is unknown."""


@dataclass(frozen=True)
class ResidentState:
    """What is known of a GPU's resident."""

    name: str
    state: str
    """As the resident reports it (loaded, unloaded, …), or as follows from the Lease; else `unknown`."""
    measured: bool
    """True where the resident has just reported `state` itself."""
    out_since: datetime | None
    max_outage: timedelta | None
    """How long it may be unloaded, where its pod sets that; else the operator's setting holds."""
    refused: int
    """Requests refused in the present outage."""
    residual_mib: int
    """MiB of the GPU that it keeps while it is unloaded, as it has measured; no job can have them."""
    trouble: str


@dataclass(frozen=True)
class Waiting:
    """A job or Workload in the queue. The position is 0 where it is unknown."""

    job: JobKey
    position: int
    priority: int
    need_mib: int
    expected: datetime | None
    reason: str
    represents: Represented | None = field(default=None, metadata={"omit_default": True})
    """The object that a Workload represents; None for a job."""


@dataclass(frozen=True)
class Gpu:
    """One GPU; everything that is None or empty is not known."""

    key: str
    """Its UUID in lower case, as in Leases; empty where unknown; `gpu-unmanaged` for those without a resident."""
    model: str
    node: str
    memory: Memory | None
    proven_free: int | None
    """Free MiB that were measured before the present training pod was created."""
    granted: int | None
    """MiB that the present job asked for."""
    owner: Owner | None
    resident: ResidentState | None
    queue: tuple[Waiting, ...]
    preparing: tuple[JobKey, ...]


def gpus_of(snapshot: ClusterSnapshot) -> list[Gpu]:
    """Return every GPU that Leases, residents or jobs name, by node and UUID."""
    jobs = [job_on_gpu(job) for job in snapshot.jobs]
    jobs += [found for each in snapshot.workloads for found in workload_on_gpus(each, snapshot.leases)]
    known = gpu_ownerships(filter(None, jobs), snapshot.leases, snapshot.residents or ())
    return [_gpu(snapshot, each) for each in known]


def stranded(snapshot: ClusterSnapshot) -> list[Waiting]:
    """Return the waiting jobs and Workloads that fit no GPU."""
    places = positions(snapshot)
    return [_waiting(each, snapshot, places) for each in waiting(snapshot) if fits_nowhere(each)]


def _gpu(snapshot: ClusterSnapshot, gpu: GpuOwnership) -> Gpu:
    owner = _owner(snapshot, gpu.holder) if gpu.holder else None
    proven, granted = _memory_of(snapshot, owner.job) if owner and owner.job else (None, None)
    places = positions(snapshot)
    report = gpu.resident.report if gpu.resident else None

    def suits(claim: Claim) -> bool:
        return could_serve(claim, gpu.key, gpu.resident, snapshot.node_labels)

    return Gpu(
        key=gpu.key,
        model=report.name if report else (gpu.last_job.gpu.name or "" if gpu.last_job else ""),
        node=gpu.node,
        memory=Memory(report.total_mib, report.reserved_mib, report.used_mib, report.free_mib) if report else None,
        proven_free=proven,
        granted=granted,
        owner=owner,
        resident=resident_state(gpu, owner),
        queue=tuple(_waiting(each, snapshot, places) for each in waiting(snapshot) if suits(each)),
        preparing=tuple(each.key for each in preparing(snapshot.jobs) if gpu.key and suits(each)),
    )


def _memory_of(snapshot: ClusterSnapshot, owner: JobKey) -> tuple[int | None, int | None]:
    """Return the free MiB that were measured for the owner of a GPU, and the MiB that it asked for."""
    job, listed = snapshot.job(owner), snapshot.workload(owner)
    if job is not None:
        return job.status.gpu.free_after if job.status.gpu else None, job.need_mib
    if listed is None:
        return None, None
    entry = listed.workload.entry
    return entry.proven_mib if entry and listed.is_pinned else None, listed.workload.need_mib or None


def _owner(snapshot: ClusterSnapshot, holder: Holder) -> Owner:
    job = snapshot.job(holder.job) if holder.job else None
    listed = snapshot.workload(holder.job) if holder.job else None
    if listed is not None:
        phase = state_of(listed, turn_of(listed, snapshot.leases)).phase.value
        return Owner(listed.key, phase, "", holder.since, None, listed.represents)
    if job is None:
        represents = snapshot.represented(holder.job) if holder.job else None
        return Owner(holder.job, "", "", holder.since, None, represents)
    epoch = job.status.progress.summary if job.status.progress else ""
    return Owner(holder.job, job.status.phase or "", epoch, holder.since, expected_end(job))


def resident_state(gpu: GpuOwnership, owner: Owner | None) -> ResidentState | None:
    """Return what is known of a GPU's resident; None for a GPU without one."""
    resident, lease = gpu.resident, gpu.lease
    if not gpu.resident_name and (lease is None or not lease.node):
        return None
    report = resident.report if resident else None
    state = report.state if report else _state_by(gpu, owner)
    out = state not in {"loaded", "unknown"}
    limited = resident is not None and words.ANNOTATION_MAX_OUTAGE in resident.annotations
    return ResidentState(
        name=gpu.resident_name,
        state=state,
        measured=report is not None,
        out_since=_out_since(lease, owner) if out else None,
        max_outage=clocks_of(_POLICY, resident).max_outage if limited else None,
        refused=report.refused if report else 0,
        residual_mib=report.residual_mib if report else 0,
        trouble=resident.error if resident else "",
    )


def _state_by(gpu: GpuOwnership, owner: Owner | None) -> str:
    """Return the state that follows from the record of ownership, where the resident gave no report."""
    lease, turn = gpu.lease, gpu.last_job.turn if gpu.last_job else None
    if owner is not None and owner.job is not None and turn is not None and turn.sharing is not None:
        return "loaded"
    if lease is not None and lease.owner is None:
        return "to be loaded" if lease.reload_pending else "loaded"
    return "unloaded" if owner is not None and owner.phase in {Phase.TRAINING, Phase.RELEASING} else "unknown"


def _out_since(lease: GpuLease | None, owner: Owner | None) -> datetime | None:
    if lease is not None and lease.out_since is not None:
        return parse_time(lease.out_since)
    return owner.since if owner is not None and owner.job is not None else None


def _waiting(job: Claim, snapshot: ClusterSnapshot, places: dict[str, int]) -> Waiting:
    if isinstance(job, CheckedWorkload):
        place, message = places.get(job.key.uid, 0), job.entry.message if job.entry else ""
        represents = snapshot.represented(job.key)
        return Waiting(job.key, place, job.priority, job.need_mib, None, message, represents)
    reconciling = next((c for c in job.status.conditions if c.type == words.ConditionType.RECONCILING), None)
    return Waiting(
        job=job.key,
        position=job.status.queue_position or 0,
        priority=job.spec.priority,
        need_mib=job.need_mib,
        expected=expected_start(job),
        reason=reconciling.reason if reconciling else "",
    )
