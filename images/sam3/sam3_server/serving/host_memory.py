"""Whether the host has the memory for one more process with the weights in it. Sizes in MiB."""

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

KIB_PER_MIB, BYTES_PER_MIB = 1 << 10, 1 << 20
LIBRARIES_MIB = 512  # of PyTorch and transformers in a process, without weights
FULL_BYTES, HALF_BYTES = 4.0, 2.2  # of a weight: in half precision, a twentieth of a SAM3 is in float32
CGROUPS = (  # limit, usage, statistics, and the statistic of cache that can be dropped
    ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current", "sys/fs/cgroup/memory.stat", "inactive_file"),
    (
        "sys/fs/cgroup/memory/memory.limit_in_bytes",
        "sys/fs/cgroup/memory/memory.usage_in_bytes",
        "sys/fs/cgroup/memory/memory.stat",
        "total_inactive_file",
    ),
)


@dataclass(frozen=True)
class HostBudget:
    """What a further worker takes of the host's memory, and what must stay free beside it."""

    need_mib: int
    reserve_mib: int
    root: Path = Path("/")

    @classmethod
    def of(cls, model: Path, reserve_mib: int, full: bool) -> "HostBudget":
        """Return the budget for a model's folder, whose weights are to be in float32 (`full`) or in half precision."""
        weights = sum(count_weights(path) for path in model.glob("*.safetensors"))
        size = weights * (FULL_BYTES if full else HALF_BYTES)
        return cls(int(size) // BYTES_PER_MIB + LIBRARIES_MIB, reserve_mib)

    def allows(self) -> bool:
        """Whether one more worker fits now. Where memory cannot be measured, assume that it does."""
        available = available_mib(self.root)
        return available is None or available >= self.need_mib + self.reserve_mib

    def shortage(self) -> str:
        """Return the sentence that says what is missing and what to change."""
        return (
            f"a further worker needs about {self.need_mib} MiB of host memory and {self.reserve_mib} MiB must stay "
            f"free, {available_mib(self.root)} MiB are available: give the pod more memory, or set SAM3_STANDBY=false"
        )


def count_weights(path: Path) -> int:
    """Return how many weights a safetensors file has, by its header; 0 for a file that is none."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError):
        return 0  # the worker that reads it reports what is wrong with it


def available_mib(root: Path = Path("/")) -> int | None:
    """Return what this process can still take: of the machine, or of its cgroup where that is less; None if unknown."""
    found = [
        value for value in (_of_machine(root), *(_of_cgroup(root, *files) for files in CGROUPS)) if value is not None
    ]
    return min(found, default=None)


def _of_machine(root: Path) -> int | None:
    value = _statistic(root / "proc/meminfo", "MemAvailable:")
    return None if value is None else value // KIB_PER_MIB


def _of_cgroup(root: Path, limit: str, usage: str, statistics: str, cache: str) -> int | None:
    most, used = _number(root / limit), _number(root / usage)
    if most is None or used is None:
        return None
    return max(0, most - used + (_statistic(root / statistics, cache) or 0)) // BYTES_PER_MIB


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None  # "max": no limit


def _statistic(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [name]), None)
