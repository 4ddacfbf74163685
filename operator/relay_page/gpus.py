"""What the page shows of a GPU and its owner: pure functions to small JSON."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.objects.represented import Represented, title
from gpu_relay.domain.objects.resident import Resident, ResidentPod
from gpu_relay.domain.quantities import timestamp
from gpu_relay.overview.gpus import Owner, ResidentState, resident_state
from gpu_relay.overview.ownership import GpuOwnership, JobOnGpu, gpu_ownerships

Object = dict[str, Any]


def gpus(
    jobs: Iterable[JobOnGpu],
    leases: Mapping[str, GpuLease] | None,
    pods: Mapping[str, ResidentPod],
    residents: Iterable[Resident],
    represented: Callable[[JobKey], Represented | None] = lambda _: None,
) -> list[Object]:
    """Return every GPU that is known, by node and UUID; `leases` is None where they may not be read.

    `pods` are those of `residents`, by `namespace/name`. `represented` returns the object that a Workload represents.
    The renew key of a Lease is left out.
    """
    known = gpu_ownerships(jobs, leases, residents)
    return [_gpu(each, pods.get(each.resident_name), represented) for each in known]


def _gpu(gpu: GpuOwnership, pod: ResidentPod | None, represented: Callable[[JobKey], Represented | None]) -> Object:
    status = gpu.last_job.gpu if gpu.last_job else None
    report = gpu.resident.report if gpu.resident else None
    owner = _owner(gpu)
    return {
        "key": gpu.key or f"pod/{gpu.resident_name}",
        "node": gpu.node,
        "uuid": report.uuid if report else status.uuid if status else None,
        "name": report.name if report else status.name if status else None,
        "total": report.total_mib if report else status.total if status else None,
        "used": report.used_mib if report else None,
        "resident": gpu.resident_name or None,
        "pod": _pod(pod) if pod else None,
        "fence": gpu.lease.fence if gpu.lease else None,
        "residentState": _resident(state, owner) if (state := resident_state(gpu, owner)) else None,
        **_owner_fields(gpu, represented),
    }


def _owner(gpu: GpuOwnership) -> Owner | None:
    """Return the owner of a GPU, with what the job records where the viewer may read it."""
    if gpu.holder is None:
        return None
    job = gpu.last_job if gpu.last_job and gpu.last_job.job == gpu.holder.job else None
    return Owner(gpu.holder.job, job.phase if job else "", "", gpu.holder.since, job.ends if job else None)


def _owner_fields(gpu: GpuOwnership, represented: Callable[[JobKey], Represented | None]) -> Object:
    if gpu.holder is None:
        return {"owner": "unknown", "job": None, "since": None}
    job, since = gpu.holder.job, timestamp(gpu.holder.since) if gpu.holder.since else None
    if job is None:
        return {"owner": "resident", "job": None, "since": since}
    named = {"namespace": job.namespace, "name": job.name, "title": title(job, represented(job))}
    return {"owner": "job", "job": named, "since": since}


def _resident(resident: ResidentState, owner: Owner | None) -> Object:
    """Return the resident's side of a GPU: `back` is when it is expected to be loaded at the earliest."""
    out = resident.out_since
    return {
        "state": resident.state,
        "measured": resident.measured,
        "out": timestamp(out) if out else None,
        "back": timestamp(owner.until) if out and owner and owner.until else None,
        "refused": resident.refused,
        "residual": resident.residual_mib,
        "trouble": resident.trouble,
    }


def _pod(pod: ResidentPod) -> Object:
    return {
        "id": f"{pod.namespace}/{pod.name}",
        "node": pod.node,
        "phase": "Terminating" if pod.deleting else pod.phase,
        "ready": pod.ready,
    }
