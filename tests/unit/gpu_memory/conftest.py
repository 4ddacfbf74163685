import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import gpu_memory

COMMON = Path(gpu_memory.__file__).parents[1]


def environment(ledger: gpu_memory.Ledger | None) -> dict[str, str]:
    """A clean environment in which Python finds gpu_memory and sees this GPU, or none."""
    base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(COMMON), "OMP_NUM_THREADS": "1"}
    return {**base, **(ledger.environment if ledger else {})}


class Python:
    """Runs real Python processes that see one simulated GPU (or none), as containers on a node do."""

    def __init__(self, ledger: gpu_memory.Ledger | None) -> None:
        self.ledger = ledger
        self._started: list[subprocess.Popen[str]] = []

    def __call__(self, code: str, **extra: str) -> str:
        """Run to the end; a failure shows the process's own traceback."""
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**environment(self.ledger), **extra},
            text=True,
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self, code: str) -> subprocess.Popen[str]:
        """Start, and return once it has printed its first line."""
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment(self.ledger),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline(), f"exit code {process.wait()}"
        return process

    def end(self) -> None:
        for process in self._started:
            with process:
                process.kill()


@pytest.fixture
def ledger(tmp_path: Path) -> gpu_memory.Ledger:
    return gpu_memory.create_ledger(tmp_path / "gpu", uuid="GPU-0000aaaa-1111-2222-3333-444455556666")


@pytest.fixture
def python(ledger: gpu_memory.Ledger) -> Iterator[Python]:
    processes = Python(ledger)
    yield processes
    processes.end()


@pytest.fixture
def python_without_gpu() -> Callable[..., str]:
    return Python(None)
