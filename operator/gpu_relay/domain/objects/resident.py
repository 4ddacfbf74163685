"""A resident pod, its report of its GPU, and the port of its API."""

import re
from dataclasses import dataclass, field
from typing import Any

from gpu_relay.api import words

DEFAULT_PORT = 8000
"""Port of a resident's API, unless its pod or `GPU_RELAY_RESIDENT_PORT` sets another one."""


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

    @property
    def room_mib(self) -> int:
        """Return the memory that remains free if the loaded resident grows to its limit, in MiB."""
        return self.free_mib - max(0, self.worker_cap_mib - self.worker_allocated_mib)

    @property
    def held_under(self) -> int | None:
        """Return the fence of the hold under which the resident is unloaded; None if it is loaded or not held."""
        return self.hold.fence if self.hold is not None and not self.model_loaded else None


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
