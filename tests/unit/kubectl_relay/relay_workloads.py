"""Workloads of Kueue as the API server has them, and as the plugin's views get them."""

from typing import Any

from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.listed_workload import ListedWorkload, listed_workload_of
from gpu_relay.domain.quantities import timestamp
from tests.unit.kubectl_relay.relay_world import GPU, ago

CHECK = "gpu-relay"
OTHERS_ARE_AHEAD = "waits for a GPU with 10,240 MiB: others are ahead, or none is free"


def raw_workload(
    name: str = "my-training",
    *,
    state: str = "Pending",
    message: str = OTHERS_ARE_AHEAD,
    conditions: dict[str, str] | None = None,
    owner: str = "Job",
    minutes: float = 20,
    fence: int = 7,
    check: str = CHECK,
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """Return the Workload of a Job; its conditions are the True ones, with their reasons."""
    since = timestamp(ago(minutes=minutes))
    controller = {"apiVersion": "batch/v1", "kind": owner, "name": name, "uid": f"job-{name}", "controller": True}
    pin = {
        "nodeSelector": {"kubernetes.io/hostname": "node-1"},
        "labels": {"gpurelay.dev/gpu": GPU, "gpurelay.dev/fence": str(fence)},
        "annotations": {"gpurelay.dev/proven-free-mib": "14910"},
    }
    entry = {"name": check, "state": state, "message": message, "lastTransitionTime": timestamp(ago(minutes=4))}
    asked = {"gpurelay.dev/gpu-memory": "10Gi"} if annotations is None else annotations
    template = {"metadata": {"annotations": asked}, "spec": {"containers": [{"name": "main"}]}}
    true = {"QuotaReserved": "QuotaReserved"} if conditions is None else conditions
    return {
        "metadata": {
            "namespace": "vision", "name": f"job-{name}-1a2b3", "uid": f"uid-{name}", "resourceVersion": "1",
            "creationTimestamp": since, "ownerReferences": [controller] if owner else [],
        },
        "spec": {"priority": 0, "podSets": [{"name": "main", "count": 1, "template": template}], **spec},
        "status": {
            "conditions": [
                {"type": kind, "status": "True", "reason": reason, "message": kind, "lastTransitionTime": since}
                for kind, reason in true.items()
            ],
            "admissionChecks": [entry | ({"podSetUpdates": [pin]} if state == "Ready" else {})],
        },
    }  # fmt: skip


def workload(name: str = "my-training", **more: Any) -> ListedWorkload:
    """Return the Workload of a Job."""
    found = listed_workload_of(raw_workload(name, **more), {CHECK})
    assert found is not None
    return found


def in_turn(name: str = "my-training", **more: Any) -> ListedWorkload:
    """Return a Workload whose check is Ready for its turn."""
    admitted = {"QuotaReserved": "QuotaReserved", "Admitted": "Admitted"}
    return workload(name, state="Ready", message="GPU is free", conditions=admitted, **more)


def finished(name: str = "my-training", reason: str = "Succeeded", **more: Any) -> ListedWorkload:
    """Return a Workload that has finished."""
    ended = {"QuotaReserved": "QuotaReserved", "Finished": reason}
    return workload(name, state="Ready", conditions=ended, **more)


def leased(owner: ListedWorkload, *, fence: int = 7) -> dict[str, GpuLease]:
    """Return the Leases while a Workload owns the GPU."""
    since = timestamp(ago(minutes=4))
    return {GPU: GpuLease(GPU, "1", GPU, owner.key.holder, fence, since, "secret", "node-1", "")}


def on_two_gpus() -> ListedWorkload:
    """Return a Workload whose check is Ready for turns with equal fences on two GPUs of a node."""
    raw = raw_workload(state="Ready", conditions={"QuotaReserved": "QuotaReserved", "Admitted": "Admitted"})
    (pin,) = raw["status"]["admissionChecks"][0]["podSetUpdates"]
    pin["annotations"]["gpurelay.dev/turns"] = f"{GPU}=7,gpu-2=7"
    found = listed_workload_of(raw, {CHECK})
    assert found is not None
    return found
