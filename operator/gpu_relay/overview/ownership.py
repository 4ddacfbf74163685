"""Which job or Workload owns each GPU: by its Lease, else by a job's status or a Workload's check, else by the hold."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from gpu_relay.api.v1alpha1 import GpuStatus, Turn
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.listed_workload import ListedWorkload
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.objects.resident import Resident
from gpu_relay.domain.quantities import parse_time
from gpu_relay.overview.jobs import expected_end
from gpu_relay.overview.workloads import Leases, state_of, turns_of

_FACTS = ("name", "total", "resident")
"""What is true of a GPU in each turn. The check of a Workload does not record it."""


@dataclass(frozen=True)
class JobOnGpu:
    """What a job's status, or a Workload's check, records of the GPU that it owns, or owned last."""

    job: JobKey
    key: str
    gpu: GpuStatus
    turn: Turn | None
    """None where the job owns the GPU no longer."""
    started: str
    phase: str
    ends: datetime | None
    """When the training is expected to end; None while that is unknown."""


@dataclass(frozen=True)
class Holder:
    """The owner of a GPU: a job, or the GPU's resident where `job` is None; `since` is None where it is unknown."""

    job: JobKey | None
    since: datetime | None


@dataclass(frozen=True)
class GpuOwnership:
    """A GPU, with the objects that say who owns it."""

    key: str
    """Its UUID in lower case, as in Leases; empty where it is unknown."""
    holder: Holder | None
    """None where it is unknown."""
    lease: GpuLease | None
    resident: Resident | None
    last_job: JobOnGpu | None
    """The job that owns the GPU, else the one that owned it last."""

    @property
    def node(self) -> str:
        """The node, empty where it is unknown."""
        known = (
            self.resident.node if self.resident else "",
            self.lease.node if self.lease else "",
            (self.last_job.gpu.node or "") if self.last_job else "",
        )
        return next(filter(None, known), "")

    @property
    def resident_name(self) -> str:
        """The resident as `namespace/name`: the pod, else the one that the last job recorded; empty where unknown."""
        recorded = self.last_job.gpu.resident if self.last_job else None
        return str(self.resident) if self.resident else recorded or ""


def job_on_gpu(job: Job) -> JobOnGpu | None:
    """Return what a job records of its GPU; None for a job that has had none."""
    gpu = job.status.gpu
    if gpu is None or not gpu.uuid:
        return None
    status = job.status
    started = status.start_time or job.created
    return JobOnGpu(job.key, gpu.uuid.lower(), gpu, status.turn, started, status.phase or "", expected_end(job))


def workload_on_gpus(listed: ListedWorkload, leases: Leases | None) -> list[JobOnGpu]:
    """Return what the check of a Workload records of each of its GPUs; none before the check is Ready."""
    turns, started = turns_of(listed, leases), listed.ready_since or listed.workload.created
    own, phase = {(each.gpu, each.fence) for each in turns}, state_of(listed, next(iter(turns), None)).phase.value
    proven = listed.workload.entry.proven_mib if listed.workload.entry else None
    return [
        JobOnGpu(
            job=listed.key,
            key=gpu,
            gpu=GpuStatus(uuid=gpu, node=listed.hosts.get(gpu, ""), needed=listed.workload.need_mib, free_after=proven),
            turn=Turn(fence=fence, since=started) if (gpu, fence) in own else None,
            started=started,
            phase=phase,
            ends=None,
        )
        for gpu, fence in listed.pinned
    ]


def gpu_ownerships(
    jobs: Iterable[JobOnGpu], leases: Mapping[str, GpuLease] | None, residents: Iterable[Resident]
) -> list[GpuOwnership]:
    """Return every GPU that a Lease, a resident's report or a job names, by node and UUID.

    A resident on no such GPU has one whose UUID is not known. `leases` is None where they could not be read.
    """
    last_jobs: dict[str, JobOnGpu] = {}
    for job in sorted(jobs, key=lambda each: (each.turn is not None, each.started)):
        last_jobs[job.key] = _with_facts(job, last_jobs.get(job.key))
    pods = list(residents)
    reported = {_reported_key(pod): pod for pod in reversed(pods) if pod.report is not None}
    keys = sorted({*(leases or {}), *reported, *last_jobs})
    on_gpu = _residents_by_gpu(keys, pods, reported, leases or {}, last_jobs)
    found = [_ownership(key, (leases or {}).get(key), on_gpu.get(key), last_jobs.get(key)) for key in keys]
    named = {each.resident_name for each in found}
    found += [_unidentified(pod, leases) for pod in pods if str(pod) not in named]
    return sorted(found, key=lambda each: (each.node, each.key))


def _with_facts(job: JobOnGpu, before: JobOnGpu | None) -> JobOnGpu:
    """Return what a job records of its GPU, with the facts of the GPU that an earlier job recorded, and it does not."""
    if before is None:
        return job
    known = {each: getattr(before.gpu, each) for each in _FACTS if getattr(job.gpu, each) is None}
    return replace(job, gpu=job.gpu.model_copy(update=known))


def _reported_key(pod: Resident) -> str:
    return pod.report.uuid.lower() if pod.report is not None else ""


def _residents_by_gpu(
    keys: Iterable[str],
    pods: Iterable[Resident],
    reported: Mapping[str, Resident],
    leases: Mapping[str, GpuLease],
    last_jobs: Mapping[str, JobOnGpu],
) -> dict[str, Resident]:
    """Find the residents: by their reports, by the last jobs' records, else the only other one on a Lease's node."""
    found = dict(reported)
    silent = {str(pod): pod for pod in pods if pod.report is None}
    without = [key for key in keys if key not in found]
    for key in without:
        recorded = last_jobs[key].gpu.resident if key in last_jobs else None
        if recorded in silent:
            found[key] = silent.pop(recorded)
    for key in (each for each in without if each not in found and each in leases):
        here = [pod for pod in silent.values() if pod.node and pod.node == leases[key].node]
        if len(here) == 1:
            found[key] = silent.pop(str(here[0]))
    return found


def _ownership(key: str, lease: GpuLease | None, resident: Resident | None, last: JobOnGpu | None) -> GpuOwnership:
    report, holder = resident.report if resident else None, None
    if lease is not None:
        holder = Holder(lease.owner, parse_time(lease.acquired) if lease.acquired else None)
    elif last is not None and last.turn is not None:
        holder = Holder(last.job, parse_time(last.turn.since))
    elif report is not None:
        holder = Holder(JobKey.from_holder(report.hold.holder) if report.hold else None, None)
    return GpuOwnership(key, holder, lease, resident, last)


def _unidentified(pod: Resident, leases: Mapping[str, GpuLease] | None) -> GpuOwnership:
    """Return the GPU of a resident that reports no UUID, and that no job has owned yet.

    A Lease of the pod's node may be that of this GPU: then the owner is unknown.
    """
    may_be_owned = leases is None or any(lease.node == pod.node for lease in leases.values())
    return GpuOwnership("", None if may_be_owned else Holder(None, None), None, pod, None)
