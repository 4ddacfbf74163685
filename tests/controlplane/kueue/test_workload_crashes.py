"""The operator dies right after each of its writes and orders while plain Jobs take turns; every run must end alike.

`CRASH_STRIDE=1` makes every run there is; without it, a sample is made.
"""

import os
from pathlib import Path

import pytest

from tests.chaos import crash
from tests.controlplane.kueue.conftest import Play

STRIDE = int(os.environ.get("CRASH_STRIDE", "0"))
AT_ONCE = 4
PLAIN = ("first", "second")


@pytest.fixture(scope="module")
def calm(play: Play, tmp_path_factory: pytest.TempPathFactory) -> crash.Run:
    """The undisturbed run."""
    run: crash.Run = play(lambda api: crash.run(api, tmp_path_factory.mktemp("calm"), "calm-plain", plain=PLAIN))
    return run


def test_the_undisturbed_run_of_plain_jobs(calm: crash.Run) -> None:
    assert calm.state["plain jobs"] == {"first": ["Complete"], "second": ["Complete"]}
    assert calm.state["their pods"] == [("first", "Succeeded"), ("second", "Succeeded")]
    assert (calm.state["leases"], calm.state["residents"]) == (["resident"], [(True, True)])
    assert calm.orders.count("api PATCH workloads/*/status") >= 2


@pytest.mark.parametrize(("when", "stride"), [("unheard", 3), ("heard", 6)])
def test_the_operator_dies(calm: crash.Run, play: Play, tmp_path: Path, when: crash.When, stride: int) -> None:
    numbers = range(1, len(calm.orders) + 1, STRIDE or stride)
    runs: dict[int, crash.Run] = play(
        lambda api: crash.run_each(api, tmp_path, numbers, AT_ONCE, when=when, plain=PLAIN)
    )
    for k, run in runs.items():
        assert run.state == calm.state, f"killed after order {k} of {run.orders}"


def test_the_operator_dies_between_both_kinds(play: Play, tmp_path: Path) -> None:
    mixed: crash.Run = play(lambda api: crash.run(api, tmp_path, "calm-mixed", plain=("second",)))
    assert mixed.state["jobs"]["first"]["phase"] == "Succeeded"
    assert mixed.state["their pods"] == [("second", "Succeeded")]
    numbers = range(1, len(mixed.orders) + 1, STRIDE or 5)
    runs: dict[int, crash.Run] = play(lambda api: crash.run_each(api, tmp_path, numbers, AT_ONCE, plain=("second",)))
    for k, run in runs.items():
        assert run.state == mixed.state, f"killed after order {k} of {run.orders}"


def test_the_operator_dies_while_jobs_have_two_gpus(play: Play, tmp_path: Path) -> None:
    wide: crash.Run = play(lambda api: crash.run(api, tmp_path, "calm-wide", plain=PLAIN, pods=2))
    assert wide.state["their pods"] == [("first", "Succeeded")] * 2 + [("second", "Succeeded")] * 2
    assert wide.state["leases"] == ["resident"] * 2
    numbers = range(1, len(wide.orders) + 1, STRIDE or 7)
    runs: dict[int, crash.Run] = play(lambda api: crash.run_each(api, tmp_path, numbers, 2, plain=PLAIN, pods=2))
    for k, run in runs.items():
        assert run.state == wide.state, f"killed after order {k} of {run.orders}"
