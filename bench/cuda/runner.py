"""Runs the parts one after the other, each in a process of its own, within a number of seconds.

The seconds that are left are divided between the parts that are left, by their weights, so what one does not use is
there for the next ones. A part that exceeds its share is ended with everything that it has started. What it printed
until then counts.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bench.cuda.figures import Figure, read_lines
from bench.cuda.stage import Stage

SHORTEST_SECONDS = 5.0
"""A part with less time than this is skipped: it could not even start its programs."""
ERROR_LINES = 20


class State(StrEnum):
    """How a part ended."""

    MEASURED = "measured"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Outcome:
    """What came of a part: its figures, complete or not, and the error where it failed or was skipped."""

    part: str
    state: State
    figures: tuple[Figure, ...] = ()
    error: str = ""
    seconds: float = 0.0


Command = Callable[[str], Sequence[str]]
"""Returns the command of a part."""


def command_of(stage_file: Path) -> Command:
    """Return the commands of parts that measure on a stage."""
    return lambda part: (sys.executable, "-m", "bench.cuda.part", part, str(stage_file))


def run_parts(
    weights: Mapping[str, int],
    stage: Stage,
    command: Command,
    deadline: float,
    now: Callable[[], float] = time.monotonic,
) -> Iterator[Outcome]:
    """Run each part, and yield its outcome.

    Args:
        weights: the parts in their order, each with its weight in the division of the time.
        stage: where they measure.
        command: returns a part's command.
        deadline: when all of them are to end, in seconds of the clock `now`.
        now: that clock.

    """
    left = sum(weights.values())
    for part, weight in weights.items():
        share = (deadline - now()) * weight / left
        left -= weight
        if share < SHORTEST_SECONDS:
            error = f"{max(share, 0):.0f} s are left for it; allow more with --minutes"
            yield Outcome(part, State.SKIPPED, error=error)
            continue
        yield _run(part, stage, command(part), share)


def _run(part: str, stage: Stage, command: Sequence[str], seconds: float) -> Outcome:
    printed, log = stage.folder / f"{part}.figures", stage.log_of(part)
    began = time.monotonic()
    with printed.open("w") as out, log.open("w") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            env={**os.environ, **stage.environment},
            start_new_session=True,
        )
        code = _end_within(process, seconds)
    with printed.open() as lines:
        figures = tuple(read_lines(lines))
    taken = time.monotonic() - began
    if code == 0:
        return Outcome(part, State.MEASURED, figures, seconds=taken)
    reason = (
        f"it took more than its share of {seconds:.0f} s; allow more with --minutes"
        if code is None
        else f"exit code {code}"
    )
    return Outcome(part, State.FAILED, figures, f"{reason}\n{_last_lines(log)}", taken)


def _end_within(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Wait for a process, end what is left of its session, and return its exit code; None where it was ended."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end_session(process.pid)
        process.wait()


def _end_session(session: int) -> None:
    """Kill every process of a session, also those in process groups of their own."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _session_of(int(entry.name)) == session:
            try:
                os.kill(int(entry.name), signal.SIGKILL)
            except ProcessLookupError:
                continue


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _last_lines(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-ERROR_LINES:])
