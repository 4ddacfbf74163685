"""What the page shows of a GPU and its owner: pure functions to small JSON."""

from collections.abc import Iterable, Mapping
from typing import Any

from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.resident import ResidentPod, resident_of
from gpu_relay.domain.quantities import timestamp
from gpu_relay.overview.ownership import GpuOwnership, JobOnGpu, gpu_ownerships

Object = dict[str, Any]


def gpus(jobs: Iterable[JobOnGpu], leases: Mapping[str, GpuLease] | None, pods: Iterable[ResidentPod]) -> list[Object]:
    """Return every GPU that is known, by node and UUID; `leases` is None where they may not be read.

    The renew key of a Lease is left out.
    """
    known = {f"{pod.namespace}/{pod.name}": pod for pod in pods}
    residents = [resident_of(pod, None, "") for pod in known.values()]
    return [_gpu(each, known.get(each.resident_name)) for each in gpu_ownerships(jobs, leases, residents)]


def _gpu(gpu: GpuOwnership, pod: ResidentPod | None) -> Object:
    status = gpu.last_job.gpu if gpu.last_job else None
    return {
        "key": gpu.key or f"pod/{gpu.resident_name}",
        "node": gpu.node,
        "uuid": status.uuid if status else None,
        "name": status.name if status else None,
        "total": status.total if status else None,
        "resident": gpu.resident_name or None,
        "pod": _pod(pod) if pod else None,
        "fence": gpu.lease.fence if gpu.lease else None,
        **_owner(gpu),
    }


def _owner(gpu: GpuOwnership) -> Object:
    if gpu.holder is None:
        return {"owner": "unknown", "job": None, "since": None, "owed": False}
    job, since = gpu.holder.job, timestamp(gpu.holder.since) if gpu.holder.since else None
    if job is not None:
        return {"owner": "job", "job": {"namespace": job.namespace, "name": job.name}, "since": since, "owed": False}
    is_reload_pending = gpu.lease is not None and bool(gpu.lease.reload_pending)
    return {"owner": "resident", "job": None, "since": since, "owed": is_reload_pending}


def _pod(pod: ResidentPod) -> Object:
    return {
        "id": f"{pod.namespace}/{pod.name}",
        "node": pod.node,
        "phase": "Terminating" if pod.deleting else pod.phase,
        "ready": pod.ready,
    }
