"""A resident pod, its report of its GPU, and the port of its API."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from gpu_relay.api import words

DEFAULT_PORT = 8000
"""Port of a resident's API, unless its pod or `GPU_RELAY_RESIDENT_PORT` sets another one."""
CONTEXT_MIB = 1024
"""The most that the process of a resident holds besides its model: the CUDA context and its libraries."""


@dataclass(frozen=True)
class Hold:
    """The resident's promise to stay unloaded."""

    holder: str
    fence: int
    expires_in_seconds: float


@dataclass(frozen=True)
class GpuReport:
    """A resident's response to `GET /api/v1/gpu`. Sizes are in MiB, as NVML measured them at that time."""

    uuid: str
    name: str
    total_mib: int
    reserved_mib: int
    used_mib: int
    free_mib: int
    need_mib: int
    model_loaded: bool
    state: str
    hold: Hold | None
    worker_allocated_mib: int = 0
    worker_cap_mib: int = 0
    """The memory that the resident's model uses now, and its limit (0: none)."""
    in_flight: int = 0
    idle_seconds: float = 0.0
    refused: int = 0
    """Requests refused during the current hold."""
    residual_mib: int = 0
    """What the resident keeps of the GPU's memory after an unload; 0 for one that ends its process."""
    newest_fence: int = 0
    """The newest fence of which the resident has accepted an order; 0 if none, or if it does not report it."""

    @property
    def room_mib(self) -> int:
        """Return the memory that remains free if the loaded resident grows to its limit, in MiB."""
        return self.free_mib - max(0, self.worker_cap_mib - self.worker_allocated_mib)

    @property
    def held_under(self) -> int | None:
        """Return the fence of the hold under which the resident is unloaded; None if it is loaded or not held."""
        return self.hold.fence if self.hold is not None and not self.model_loaded else None


@dataclass(frozen=True)
class ResidentPod:
    """A resident's pod, as the API server knows it."""

    namespace: str
    name: str
    uid: str
    node: str
    ip: str | None
    phase: str
    deleting: bool
    created: str
    labels: dict[str, str]
    annotations: dict[str, str]
    port: int = DEFAULT_PORT
    url: str = ""
    """Base URL of one outside the cluster; empty for a pod, which is reached at its address."""
    ready: bool = False

    @property
    def base_url(self) -> str:
        """Return the base URL of its API."""
        host = f"[{self.ip}]" if self.ip and ":" in self.ip else self.ip
        return self.url or f"http://{host}:{self.port}"

    @property
    def has_loopback_address(self) -> bool:
        """True for a pod of the local Kubernetes' process node: it is on this machine."""
        return (self.ip or "").startswith("127.")


@dataclass(frozen=True)
class Resident:
    """A resident pod and its report; `report` is None if it did not respond (`error` has the cause)."""

    namespace: str
    name: str
    uid: str
    node: str
    url: str
    labels: dict[str, str]
    report: GpuReport | None
    error: str = ""
    annotations: dict[str, str] = field(default_factory=dict)
    """The annotations `gpurelay.dev/…` of the pod."""
    deleting: bool = False
    external: bool = False
    """True for a resident that is not a pod, from the operator's settings."""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def port_of(pod: dict[str, Any], default: int = DEFAULT_PORT) -> int:
    """Return the port of a resident pod's API: the annotation's, else the container port named `http`, else `default`.

    The operator and the plugin both use it.
    """
    annotation = pod["metadata"].get("annotations", {}).get(words.ANNOTATION_PORT, "")
    if re.fullmatch("[1-9][0-9]{0,4}", annotation) and int(annotation) < 2**16:
        return int(annotation)
    containers = pod.get("spec", {}).get("containers", [])
    ports = (port for container in containers for port in container.get("ports", []))
    return next((int(port["containerPort"]) for port in ports if port.get("name") == "http"), default)


def resident_pod_of(raw: dict[str, Any], default_port: int = DEFAULT_PORT) -> ResidentPod:
    """Read a resident's pod. `default_port` is that of residents' APIs whose pods do not set one."""
    meta, status = raw["metadata"], raw.get("status", {})
    return ResidentPod(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        node=raw.get("spec", {}).get("nodeName", ""),
        ip=status.get("podIP"),
        phase=status.get("phase", "Pending"),
        deleting="deletionTimestamp" in meta,
        created=meta["creationTimestamp"],
        labels={k: v for k, v in meta.get("labels", {}).items() if k != words.LABEL_RESIDENT},
        annotations={k: v for k, v in meta.get("annotations", {}).items() if k.startswith(f"{words.GROUP}/")},
        port=port_of(raw, default_port),
        ready=any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", [])),
    )


def resident_of(pod: ResidentPod, report: GpuReport | None, error: str, url: str = "") -> Resident:
    """Return a resident with its report; `error` says why there is none, `url` is where it was asked."""
    return Resident(
        pod.namespace, pod.name, pod.uid, pod.node, url, pod.labels, report, error, pod.annotations,
        deleting=pod.deleting, external=bool(pod.url),
    )  # fmt: skip


_Mib = Annotated[int, Field(ge=0, lt=2**31)]


class _HoldAnswer(BaseModel):
    holder: Annotated[str, Field(max_length=512)]
    fence: Annotated[int, Field(ge=0, lt=2**31)]
    expires_in_seconds: Annotated[float, Field(allow_inf_nan=False)]


class _GpuAnswer(BaseModel):
    uuid: Annotated[str, Field(pattern=r"^(GPU|MIG)-[0-9a-fA-F]([0-9a-fA-F-]{0,57}[0-9a-fA-F])?$")]
    name: Annotated[str, Field(max_length=128)]
    total_mib: _Mib
    reserved_mib: _Mib
    used_mib: _Mib
    free_mib: _Mib
    need_mib: _Mib = 0
    residual_mib: _Mib = 0
    model_loaded: bool
    state: Annotated[str, Field(max_length=32)]
    hold: _HoldAnswer | None
    worker_allocated_mib: _Mib = 0
    worker_cap_mib: _Mib = 0
    in_flight: Annotated[int, Field(ge=0, lt=2**31)] = 0
    idle_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    refused: Annotated[int, Field(ge=0, lt=2**31)] = 0
    newest_fence: Annotated[int, Field(ge=0, lt=2**30)] = 0  # so that the Lease's int32 has room for the next ones


def report_of(answer: dict[str, Any]) -> GpuReport:
    """Read a resident's answer to `GET /api/v1/gpu`; ValueError names the field that cannot be read."""
    try:
        gpu = _GpuAnswer.model_validate(answer)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"its report is invalid: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    hold = Hold(**gpu.hold.model_dump()) if gpu.hold else None
    return GpuReport(**gpu.model_dump(exclude={"hold"}), hold=hold)
