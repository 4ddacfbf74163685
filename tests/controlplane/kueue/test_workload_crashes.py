"""The operator dies right after each of its writes and orders while plain Jobs take turns; every run must end alike.

`CRASH_STRIDE=1` makes every run there is; without it, a sample is made.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devcluster import Cluster
from tests.chaos import crash
from tests.chaos.api import Api
from tests.chaos.plain_jobs import create_check, delete_check

Play = Callable[[Callable[[Api], Awaitable[Any]]], Any]
STRIDE = int(os.environ.get("CRASH_STRIDE", "0"))
AT_ONCE = 4
PLAIN = ("first", "second")


@pytest.fixture(scope="module")
def play(cluster: Cluster) -> Iterator[Play]:
    """Run a coroutine function against the control plane, where the operator's check exists."""

    async def played(scenes: Callable[[Api], Awaitable[Any]]) -> Any:
        async with Api.of_run(cluster.run_dir) as api:
            await create_check(api)
            try:
                return await scenes(api)
            finally:
                await delete_check(api)

    yield lambda scenes: asyncio.run(played(scenes))


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
