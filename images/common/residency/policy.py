"""What the operator of a server decides about the model's residency."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Policy:
    """Sizes in MiB, times in seconds; `need_mib` 0 computes on the CPU, without a check of GPU memory.

    `held_wait` is how long requests wait for the end of a turn, and `hold_file` is where a hold is kept for a server
    that is restarted. `preload` keeps the model loaded without a request, `ready_when_loaded` makes the server ready
    only while it is loaded. After `idle_unload` without a request, the model is unloaded; 0 keeps it.
    """

    need_mib: int
    max_in_flight: int
    max_per_client: int
    held_wait: float
    hold_file: Path | None
    preload: bool = False
    ready_when_loaded: bool = False
    idle_unload: float = 0.0
