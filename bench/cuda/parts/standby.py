"""Load and unload of the model: cold, from the standby, and what an unload leaves on the GPU."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import gpu_memory
from bench.cuda.figures import Figure
from bench.cuda.stage import Stage
from bench.sam3 import lifecycle
from demo.sam3 import photograph

SETTLED_SECONDS = 1.0
ATTACHED = "model attached"
STEPS = ("context", "copy", "probe")


def measure(stage: Stage) -> Iterator[Figure]:
    """Measure one server."""
    with stage.server(SAM3_LOG_LEVEL="info") as server:
        unloaded_mib = gpu_memory.read().used_mib
        lifecycle.ask(server, photograph())
        yield Figure("loaded model holds", gpu_memory.read().used_mib - unloaded_mib, "MiB")
        seen = lifecycle.measure(server, stage.sizes.rounds)
        yield Figure("load, cold", seen.cold_load, "s")
        yield Figure("load from the standby", seen.standby_load, "s", f"{seen.times_faster:.0f} times faster")
        for step, seconds in _steps(stage.log_of("standby")).items():
            yield Figure(f"load from the standby: {step}", seconds, "s", "of the last one, in the server's log")
        yield Figure("standby ready after an unload", seen.standby_ready, "s")
        yield Figure("unload, until measured free", seen.unload, "s", f"{seen.freed_mib} MiB came back")
        lifecycle.ask(server, photograph())
        server.unload(fence=10_000, ttl_seconds=600).raise_for_status()
        time.sleep(SETTLED_SECONDS)
        left = gpu_memory.read().used_mib - unloaded_mib
        yield Figure("left on the GPU 1 s after an unload", left, "MiB", "against the server before its first load")
        residual = server.client.get("/api/v1/gpu").raise_for_status().json()["residual_mib"]
        yield Figure("left on the GPU, as the server reports it", residual, "MiB")


def _steps(log: Path) -> dict[str, float]:
    """Return the seconds of each step of the newest load in a server's log.

    Raises:
        RuntimeError: the log has no load.

    """
    lines = [line for line in log.read_text().splitlines() if line.startswith("{") and ATTACHED in line]
    if not lines:
        raise RuntimeError(f"{log.name} has no line {ATTACHED!r}")
    entry = json.loads(lines[-1])
    return {step: float(entry[f"{step}_seconds"]) for step in STEPS}
