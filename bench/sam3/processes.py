"""What the benchmarks of SAM3 start: a full-size model's maker, servers, and measurements in processes of their own."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.sam3 import lifecycle
from devcluster.programs.sam3 import TOKEN, Server
from gpu_memory import Ledger


def make_full_size(folder: Path, dtype: str) -> None:
    """Write a SAM3 of full size with random weights into a folder."""
    subprocess.run([sys.executable, "-m", "bench.sam3.full_size", str(folder), "--dtype", dtype], check=True)


def start_server(
    folder: Path, model: Path, memory_mib: int, settings: Mapping[str, str], ledger: Ledger | None = None
) -> Server:
    """Start a server with a queue and time limits that no benchmark reaches. `folder` keeps its token.

    By default it caches no image: every request is to pay for its own.
    """
    token_file = folder / "token"
    token_file.write_text(TOKEN)
    patient = {
        "SAM3_GPU_MEMORY_MIB": str(memory_mib),
        "SAM3_CACHED_IMAGES": "0",
        "SAM3_MAX_IN_FLIGHT": "64",
        "SAM3_LOAD_TIMEOUT": "3600",
        "SAM3_REQUEST_TIMEOUT": "3600",
    }
    return Server(ledger, model, token_file, {**patient, **settings}, lifecycle.PATIENCE)


def child(module: str, *words: str) -> Any:
    """Run a measurement in a process of its own; None when it ran out of memory."""
    ended = subprocess.run(
        [sys.executable, "-m", module, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False
    )
    return json.loads(ended.stdout.splitlines()[-1]) if ended.returncode == 0 else None
