"""Resident pods, and their answers to `GET /api/v1/gpu`."""

from pydantic import BaseModel, Field, ValidationError

from gpu_relay.domain.objects.job import Object
from gpu_relay.domain.objects.resident import GpuReport, Hold, Resident


class _Hold(BaseModel):
    holder: str
    fence: int
    expires_in_seconds: float


class _Report(BaseModel):
    uuid: str = Field(min_length=1)
    name: str
    total_mib: int
    reserved_mib: int
    used_mib: int
    free_mib: int
    need_mib: int = 0
    model_loaded: bool
    state: str
    hold: _Hold | None = None
    worker_allocated_mib: int = 0
    worker_cap_mib: int = 0
    in_flight: int = 0
    idle_seconds: float = 0.0
    refused: int = 0


def report_of(raw: Object) -> GpuReport | None:
    """Read a resident's answer; None where it is no such answer."""
    try:
        told = _Report.model_validate(raw)
    except ValidationError:
        return None
    hold = Hold(**told.hold.model_dump()) if told.hold else None
    return GpuReport(**told.model_dump(exclude={"hold"}), hold=hold)


def resident_of(pod: Object, report: GpuReport | None, error: str) -> Resident:
    """Read a resident's pod; `error` says why it gave no report."""
    meta, status = pod["metadata"], pod.get("status", {})
    return Resident(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        node=pod.get("spec", {}).get("nodeName", ""),
        url="",
        labels=meta.get("labels", {}),
        report=report,
        error=error or ("" if status.get("phase") == "Running" else f"its pod is {status.get('phase', 'Pending')}"),
        annotations=meta.get("annotations", {}),
        deleting="deletionTimestamp" in meta,
    )
