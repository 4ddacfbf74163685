"""A resident pod, what it reports of its GPU, and the port of its API."""

import re
from dataclasses import dataclass, field
from typing import Any

from gpu_relay.api import words

DEFAULT_PORT = 8000
"""Of a resident's API, where its pod and `GPU_RELAY_RESIDENT_PORT` say nothing else."""


@dataclass(frozen=True)
class Hold:
    """The resident's promise to stay unloaded."""

    holder: str
    fence: int
    expires_in_seconds: float


@dataclass(frozen=True)
class GpuReport:
    """A resident's answer to `GET /api/v1/gpu`. Sizes are MiB, measured by NVML at that moment."""

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
    """What the resident's model holds now, and the most that it lets itself grow to."""
    in_flight: int = 0
    idle_seconds: float = 0.0
    refused: int = 0
    """Requests refused under the present hold."""

    @property
    def room_mib(self) -> int:
        """Free memory that stays free when the loaded resident grows to its cap, in MiB."""
        return self.free_mib - max(0, self.worker_cap_mib - self.worker_allocated_mib)

    @property
    def held_under(self) -> int | None:
        """Fence under which the resident is unloaded and has promised to stay so; None where it is not, or has not."""
        return self.hold.fence if self.hold is not None and not self.model_loaded else None


@dataclass(frozen=True)
class Resident:
    """A resident pod and its report; `report` is None when it did not answer (`error` says why)."""

    namespace: str
    name: str
    uid: str
    node: str
    url: str
    labels: dict[str, str]
    report: GpuReport | None
    error: str = ""
    annotations: dict[str, str] = field(default_factory=dict)
    """Those of ours."""
    deleting: bool = False
    external: bool = False
    """True for one outside the cluster, known by its URL from the operator's settings."""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def port_of(pod: dict[str, Any], default: int = DEFAULT_PORT) -> int:
    """Return the port of a resident pod's API: the annotation's, else the container port named `http`, else `default`.

    The operator and the plugin both go by it.
    """
    said = pod["metadata"].get("annotations", {}).get(words.ANNOTATION_PORT, "")
    if re.fullmatch("[1-9][0-9]{0,4}", said) and int(said) < 2**16:
        return int(said)
    containers = pod.get("spec", {}).get("containers", [])
    ports = (port for container in containers for port in container.get("ports", []))
    return next((int(port["containerPort"]) for port in ports if port.get("name") == "http"), default)
