"""Cold start against standby, and unload until the memory is free. Times in seconds, sizes in MiB."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.programs.sam3 import Server
from devcluster.waiting import eventually

PATIENCE = 3600.0


@dataclass(frozen=True)
class Lifecycle:
    """Medians of so many rounds."""

    cold_load: float
    standby_load: float
    standby_ready: float
    unload: float
    freed_mib: int

    @property
    def times_faster(self) -> float:
        """How many times faster the standby loads."""
        return self.cold_load / self.standby_load


def measure(server: Server, rounds: int) -> Lifecycle:
    """Load cold and from the standby in turns, in one server on one machine."""
    cold, warm, ready, unloads, freed = [], [], [], [], 0
    for number in range(1, rounds + 1):
        server.client.post("/api/v1/unload").raise_for_status()  # without a hold: no standby
        cold.append(_load(server, None))
        claim = {"holder": "bench", "fence": number}
        began = time.perf_counter()
        terms = claim | {"renew_key": "key", "ttl_seconds": 3600}
        answer = server.client.post("/api/v1/unload", json=terms).raise_for_status().json()
        unloads.append(time.perf_counter() - began)
        freed = answer["gpu_freed_mb"]
        began = time.perf_counter()
        eventually(server.standby_ready, "a standby", within=PATIENCE)
        ready.append(time.perf_counter() - began)
        warm.append(_load(server, claim))
    return Lifecycle(_median(cold), _median(warm), _median(ready), _median(unloads), freed)


def ask(server: Server, photograph: Path) -> Any:
    """Have the photograph segmented; raises httpx.HTTPStatusError."""
    files = {"image": (photograph.name, photograph.read_bytes())}
    data = {"prompt": ["bus", "person"], "threshold": "0"}
    return server.client.post("/api/v1/segment", files=files, data=data).raise_for_status().json()


def _load(server: Server, claim: dict[str, Any] | None) -> float:
    began = time.perf_counter()
    server.client.post("/api/v1/load", json=claim).raise_for_status()
    return time.perf_counter() - began


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
