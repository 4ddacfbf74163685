"""Attempts of the trainer as processes."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from devcluster.paths import REPOSITORY

DEADLINE_SECONDS = 300


class Attempt:
    """One running trainer."""

    def __init__(
        self,
        folder: Path,
        job: dict[str, Any],
        *options: str,
        command: str = "run",
        prefix: Sequence[str] = (),
        module: str = "yolo_trainer",
        **environment: str,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.word_file = folder / "termination-log"
        self.word_file.unlink(missing_ok=True)
        self.log_file = folder / "log"
        job_file = folder / "job.json"
        job_file.write_text(json.dumps(job))
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", module, command, str(job_file), *options],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join(str(REPOSITORY / part) for part in ("images/yolo", "images/common", ".")),
                "BIND_ADDRESS": "127.0.0.1",
                "PROGRESS_PORT": "0",
                "TERMINATION_MESSAGE_PATH": str(self.word_file),
                **environment,
            },
            stderr=self.log_file.open("w"),
        )

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self.log_file.read_text()

    def wait_for(self, what: str, true: Callable[[], bool]) -> None:
        """Wait until a condition holds; AssertionError has the log where the trainer ends before it."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not true():
            assert self.process.poll() is None, f"ended before {what}:\n{self.log}"
            assert time.monotonic() < deadline, f"no {what} in time:\n{self.log}"
            time.sleep(0.02)

    def ended(self) -> tuple[int, dict[str, Any]]:
        """Wait for the end, and return exit code and termination message."""
        code = self.process.wait(DEADLINE_SECONDS)
        return code, json.loads(self.word_file.read_bytes())

    def progress(self) -> dict[str, Any]:
        """Return the answer of its /progress."""
        port = self.log.partition("Progress is served on 127.0.0.1:")[2].split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress", timeout=5) as response:
            answer: dict[str, Any] = json.load(response)
        return answer
