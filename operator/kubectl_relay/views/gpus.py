"""Who has each GPU: its owner, its memory, its resident and the queue behind it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from gpu_relay.api import words
from gpu_relay.api.words import Phase
from gpu_relay.domain.objects.job import Job, JobKey
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.resident import Resident
from gpu_relay.domain.outage import clocks_of
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.quantities import parse_time
from kubectl_relay.views.picture import Picture
from kubectl_relay.views.queue import could_serve, fits_nowhere, preparing, queued

_POLICY = Policy()


@dataclass(frozen=True)
class Memory:
    """Memory of a GPU in MiB, measured when it was looked at."""

    total: int
    reserved: int
    used: int
    free: int


@dataclass(frozen=True)
class Owner:
    """Who has a GPU. `job` is None for the resident; `since` is None where nobody has written it down."""

    job: JobKey | None
    phase: str
    epoch: str
    """`12/100`; empty before the first."""
    since: datetime | None
    until: datetime | None
    """When the training is expected to end; None while nobody can tell."""


@dataclass(frozen=True)
class ResidentState:
    """What is known of a GPU's resident."""

    name: str
    state: str
    """Its own word (loaded, unloaded, …), or what follows from the Lease; `unknown` where neither is known."""
    measured: bool
    """True where `state` is its own word, of this moment."""
    out_since: datetime | None
    max_outage: timedelta | None
    """How long it may be out, where its pod says so; else the operator's setting holds."""
    refused: int
    """Requests that it refused in the present outage."""
    trouble: str


@dataclass(frozen=True)
class Waiting:
    """A job in the queue."""

    job: JobKey
    position: int
    priority: int
    need_mib: int
    expected: datetime | None
    reason: str


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


def gpus_of(picture: Picture) -> list[Gpu]:
    """Return every GPU that Leases, residents or jobs speak of, by node and UUID."""
    found = [_gpu(picture, key) for key in sorted(_keys(picture))]
    placed = {gpu.resident.name for gpu in found if gpu.resident}
    found += [_unnamed(picture, each) for each in picture.residents or () if str(each) not in placed]
    return sorted(found, key=lambda gpu: (gpu.node, gpu.key))


def stranded(jobs: Iterable[Job]) -> list[Waiting]:
    """Return the waiting jobs that no GPU suits."""
    return [_waiting(job) for job in queued(jobs) if fits_nowhere(job)]


def _unnamed(picture: Picture, resident: Resident) -> Gpu:
    """Describe the GPU of a resident that could not be asked which one it is, and that no job has had yet."""
    taken = picture.leases is None or any(lease.node == resident.node for lease in picture.leases.values())
    waiting = [_waiting(each) for each in queued(picture.jobs) if could_serve(each, "", resident, picture.node_labels)]
    return Gpu(
        key="",
        model="",
        node=resident.node,
        memory=None,
        proven_free=None,
        granted=None,
        owner=None if taken else Owner(None, "", "", None, None),
        resident=ResidentState(str(resident), "unknown", False, None, None, 0, resident.error),
        queue=tuple(waiting),
        preparing=(),
    )


def _keys(picture: Picture) -> set[str]:
    reported = {r.report.uuid.lower() for r in picture.residents or () if r.report is not None}
    worked_on = {job.status.gpu.uuid.lower() for job in picture.jobs if job.status.gpu and job.status.gpu.uuid}
    return set(picture.leases or {}) | reported | worked_on


def _gpu(picture: Picture, key: str) -> Gpu:
    lease = (picture.leases or {}).get(key)
    lately = _lately_on(picture.jobs, key)
    resident = _resident_on(picture, key, lease, lately)
    owner = _owner(picture, key, lease, resident)
    job = picture.job(owner.job) if owner and owner.job else None
    report, told = resident.report if resident else None, lately.status.gpu if lately else None

    def suits(job: Job) -> bool:
        return could_serve(job, key, resident, picture.node_labels)

    return Gpu(
        key=key,
        model=report.name if report else (told.name or "" if told else ""),
        node=(resident.node if resident else "") or (lease.node if lease else "") or (told.node or "" if told else ""),
        memory=Memory(report.total_mib, report.reserved_mib, report.used_mib, report.free_mib) if report else None,
        proven_free=job.status.gpu.free_after if job and job.status.gpu else None,
        granted=job.need_mib if job else None,
        owner=owner,
        resident=_resident_state(resident, lease, lately, owner),
        queue=tuple(_waiting(each) for each in queued(picture.jobs) if suits(each)),
        preparing=tuple(each.key for each in preparing(picture.jobs) if suits(each)),
    )


def _lately_on(jobs: Iterable[Job], key: str) -> Job | None:
    """Return the job that has a GPU, or else had it last."""
    mine = [job for job in jobs if job.status.gpu and (job.status.gpu.uuid or "").lower() == key]
    return max(mine, key=lambda job: (job.status.turn is not None, job.status.start_time or ""), default=None)


def _resident_on(picture: Picture, key: str, lease: GpuLease | None, lately: Job | None) -> Resident | None:
    """Find the resident by its own report; else by the node of the Lease, where just one could be meant."""
    pods = picture.residents or ()
    for pod in pods:
        if pod.report is not None and pod.report.uuid.lower() == key:
            return pod
    mute = [pod for pod in pods if pod.report is None]
    named = [pod for pod in mute if lately and lately.status.gpu and str(pod) == lately.status.gpu.resident]
    here = [pod for pod in mute if lease is not None and lease.node and pod.node == lease.node]
    for candidates in (named, here):
        if len(candidates) == 1:
            return candidates[0]
    return None


def _owner(picture: Picture, key: str, lease: GpuLease | None, resident: Resident | None) -> Owner | None:
    """Tell who has it: by the Lease, else by a job's own status, else by the hold that its resident keeps."""
    if lease is not None:
        job = lease.owner
        since = parse_time(lease.acquired) if lease.acquired else None
        return _job_owner(picture, job, since) if job else Owner(None, "", "", since, None)
    for each in picture.jobs:
        turn, gpu = each.status.turn, each.status.gpu
        if turn is not None and gpu is not None and (gpu.uuid or "").lower() == key:
            return _job_owner(picture, each.key, parse_time(turn.since))
    report = resident.report if resident else None
    if report is None:
        return None
    holder = JobKey.from_holder(report.hold.holder) if report.hold else None
    return _job_owner(picture, holder, None) if holder else Owner(None, "", "", None, None)


def _job_owner(picture: Picture, key: JobKey, since: datetime | None) -> Owner:
    job = picture.job(key)
    if job is None:
        return Owner(key, "", "", since, None)
    progress = job.status.progress
    until = parse_time(progress.eta) if progress and progress.eta and job.status.phase == Phase.TRAINING else None
    return Owner(key, job.status.phase or "", progress.summary if progress else "", since, until)


def _resident_state(
    resident: Resident | None, lease: GpuLease | None, lately: Job | None, owner: Owner | None
) -> ResidentState | None:
    name = str(resident) if resident else (lately.status.gpu.resident or "" if lately and lately.status.gpu else "")
    if not name and (lease is None or not lease.node):
        return None
    report = resident.report if resident else None
    state = report.state if report else _state_by(lease, owner)
    out = state not in {"loaded", "unknown"}
    limited = resident is not None and words.ANNOTATION_MAX_OUTAGE in resident.annotations
    return ResidentState(
        name=name,
        state=state,
        measured=report is not None,
        out_since=_out_since(lease, owner) if out else None,
        max_outage=clocks_of(_POLICY, resident).max_outage if limited else None,
        refused=report.refused if report else 0,
        trouble=resident.error if resident else "",
    )


def _state_by(lease: GpuLease | None, owner: Owner | None) -> str:
    """Say what a resident must be doing by the record of ownership, where it was not asked itself."""
    if lease is not None and lease.owner is None:
        return "to be loaded" if lease.reload_pending else "loaded"
    return "unloaded" if owner is not None and owner.phase in {Phase.TRAINING, Phase.RELEASING} else "unknown"


def _out_since(lease: GpuLease | None, owner: Owner | None) -> datetime | None:
    if lease is not None and lease.out_since is not None:
        return parse_time(lease.out_since)
    return owner.since if owner is not None and owner.job is not None else None


def _waiting(job: Job) -> Waiting:
    reconciling = next((c for c in job.status.conditions if c.type == words.ConditionType.RECONCILING), None)
    expected = job.status.estimated_start_time
    return Waiting(
        job=job.key,
        position=job.status.queue_position or 0,
        priority=job.spec.priority,
        need_mib=job.need_mib,
        expected=parse_time(expected) if expected else None,
        reason=reconciling.reason if reconciling else "",
    )
