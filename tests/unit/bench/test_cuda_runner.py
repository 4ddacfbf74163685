"""The parts of bench.cuda share the time, and one that fails does not end the others. The parts are small programs."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.cuda.figures import Figure
from bench.cuda.runner import Outcome, State, run_parts
from bench.cuda.stage import TINY, Stage

PLENTY = 600.0
SEEN = Figure("seen", 1, "MiB")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage("cuda", tmp_path, tmp_path / "model", TINY)


def run(stage: Stage, programs: dict[str, str], seconds: float = PLENTY) -> list[Outcome]:
    def command(part: str) -> Sequence[str]:
        return sys.executable, "-c", programs[part]

    return list(run_parts(dict.fromkeys(programs, 1), stage, command, time.monotonic() + seconds))


def test_the_other_parts_run_after_one_that_fails(stage: Stage) -> None:
    say = f"print({SEEN.line!r})"
    first, second = run(stage, {"bad": f"{say}\nraise ValueError('no such model')", "good": say})
    assert (first.state, first.figures) == (State.FAILED, (SEEN,)), "what it measured before counts"
    assert first.error.startswith("exit code 1\n")
    assert first.error.endswith("ValueError: no such model")
    assert (second.state, second.figures, second.error) == (State.MEASURED, (SEEN,), "")


def test_a_part_that_exceeds_its_share_is_ended_with_its_children(stage: Stage, tmp_path: Path) -> None:
    child = tmp_path / "child"
    slow = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], process_group=0)\n"
        f"open({str(child)!r}, 'w').write(str(child.pid))\n"
        f"print({SEEN.line!r}, flush=True)\n"
        "time.sleep(600)\n"
    )
    first, second = run(stage, {"slow": slow, "quick": "pass"}, seconds=12)
    assert (first.state, first.figures) == (State.FAILED, (SEEN,))
    assert first.error.startswith("it took more than its share of 6 s; allow more with --minutes")
    assert second.state is State.MEASURED
    assert not Path(f"/proc/{child.read_text()}/exe").exists()


def test_the_time_that_a_part_leaves_is_there_for_the_next(stage: Stage) -> None:
    clock = iter([0.0, 10.0, 598.0])
    shares: list[str] = []

    def command(part: str) -> Sequence[str]:
        shares.append(part)
        return sys.executable, "-c", "pass"

    outcomes = list(run_parts(dict.fromkeys("abc", 1), stage, command, PLENTY, lambda: next(clock)))
    assert [outcome.state for outcome in outcomes] == [State.MEASURED, State.MEASURED, State.SKIPPED]
    assert outcomes[2].error == "2 s are left for it; allow more with --minutes"
    assert shares == ["a", "b"], "a part without time is not started"


def test_the_time_is_divided_by_weights(stage: Stage) -> None:
    def command(part: str) -> Sequence[str]:
        return sys.executable, "-c", "pass"

    outcomes = list(run_parts({"small": 1, "large": 99}, stage, command, 400.0, lambda: 0.0))
    assert [outcome.state for outcome in outcomes] == [State.SKIPPED, State.MEASURED]
    assert outcomes[0].error.startswith("4 s are left for it")


def test_nothing_is_started_after_the_deadline(stage: Stage) -> None:
    (outcome,) = run(stage, {"late": "raise SystemExit(1)"}, seconds=-1)
    assert (outcome.state, outcome.error) == (State.SKIPPED, "0 s are left for it; allow more with --minutes")
