"""Attempts of the trainer as processes: the program itself, or a fork of a process that has its imports behind it."""

import multiprocessing
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path

from typing_extensions import override


def settings(place: Path, shared: Path) -> dict[str, str]:
    """Return the environment of an attempt whose log and termination message go to `place`; `shared` keeps caches."""
    return {
        "GPU_RELAY_JOB_FILE": str(place / "job.json"),
        "BIND_ADDRESS": "127.0.0.1",
        "PROGRESS_PORT": "0",
        "TERMINATION_MESSAGE_PATH": str(place / "termination-log"),
        "TMPDIR": str(shared),
        "MPLCONFIGDIR": str(shared / "matplotlib"),
    }


class Attempt(ABC):
    """A trainer that runs the job in `<place>/job.json`."""

    def __init__(self, place: Path, shared: Path) -> None:
        """Start it."""
        self._log = place / "log"

    @property
    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""

    @property
    @abstractmethod
    def pid(self) -> int:
        """Its process."""

    @abstractmethod
    def poll(self) -> int | None:
        """Return its exit code, less than 0 where a signal ended it; None while it runs."""

    @abstractmethod
    def wait(self) -> int:
        """Wait for its end, and return its exit code."""


class ColdAttempt(Attempt):
    """The program itself."""

    def __init__(self, place: Path, shared: Path) -> None:
        super().__init__(place, shared)
        environment = {**os.environ, **settings(place, shared)}
        with self._log.open("w") as log:
            self._process = subprocess.Popen([sys.executable, "-m", "yolo_trainer", "run"], env=environment, stderr=log)

    @property
    @override
    def pid(self) -> int:
        return self._process.pid

    @override
    def poll(self) -> int | None:
        return self._process.poll()

    @override
    def wait(self) -> int:
        return self._process.wait()


_FORKS = multiprocessing.get_context("forkserver")
IMPORTS = ["yolo_trainer.run", "ultralytics.models.yolo", "torch._inductor.config", "torchvision", "polars"]
"""What the trainer imports until its first epoch; the last three when they are first used."""


def preload(shared: Path) -> None:
    """Let later `WarmAttempt`s be forked from a process that has imported PyTorch and Ultralytics.

    They are imported in the environment that the trainer itself gives them.
    """
    os.environ |= {"YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
    os.environ |= {"YOLO_CONFIG_DIR": str(shared), "MPLCONFIGDIR": str(shared / "matplotlib"), "OMP_NUM_THREADS": "1"}
    _FORKS.set_forkserver_preload(IMPORTS)


class WarmAttempt(Attempt):
    """A fork of the process that `preload` prepares."""

    def __init__(self, place: Path, shared: Path) -> None:
        super().__init__(place, shared)
        self._process = _FORKS.Process(target=_run, args=(settings(place, shared), self._log))
        self._process.start()

    @property
    @override
    def pid(self) -> int:
        assert self._process.pid is not None, "it was started"
        return self._process.pid

    @override
    def poll(self) -> int | None:
        return self._process.exitcode

    @override
    def wait(self) -> int:
        self._process.join()
        assert self._process.exitcode is not None, "it has ended"
        return self._process.exitcode


def _run(environment: dict[str, str], log: Path) -> None:
    """Run the trainer in this process, as its command line does."""
    os.environ.update(environment)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), sys.stderr.fileno())
    sys.argv = ["yolo-trainer", "run"]
    from yolo_trainer.__main__ import main

    main()
