"""The operator dies right after each of its writes and orders in turn; every run must end like the undisturbed one.

`CRASH_STRIDE=1` makes every run there is; without it, a sample is made.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from devcluster import Cluster
from tests.chaos import crash
from tests.chaos.api import Api
from tests.chaos.nodes import keep_nodes_ready

T = TypeVar("T")
Play = Callable[[Callable[[Api], Awaitable[T]]], T]
STRIDE = int(os.environ.get("CRASH_STRIDE", "0"))
AT_ONCE = 4
JOBS = ("first", "second")


@pytest.fixture(scope="module")
def play(cluster: Cluster) -> Iterator[Play[Any]]:
    """Run a coroutine function against the control plane, with its nodes well."""

    async def played(scenes: Callable[[Api], Awaitable[Any]]) -> Any:
        async with Api.of_run(cluster.run_dir) as api:
            heartbeat = asyncio.create_task(keep_nodes_ready(api, "node-1", "node-2"))
            try:
                return await scenes(api)
            finally:
                heartbeat.cancel()

    yield lambda scenes: asyncio.run(played(scenes))


@pytest.fixture(scope="module")
def calm(play: Play[crash.Run], tmp_path_factory: pytest.TempPathFactory) -> crash.Run:
    """The undisturbed run."""
    return play(lambda api: crash.run(api, tmp_path_factory.mktemp("calm"), "calm"))


def sample(calm: crash.Run, stride: int) -> list[int]:
    return list(range(1, len(calm.orders) + 1, STRIDE or stride))


def test_the_undisturbed_run(calm: crash.Run) -> None:
    assert {name: job["phase"] for name, job in calm.state["jobs"].items()} == {
        "first": "Succeeded",
        "second": "Succeeded",
    }
    assert calm.state["residents"] == [(True, True)]
    assert set(calm.state["events"].values()) == {1}
    assert calm.orders.count("resident POST unload") >= 2


@pytest.mark.parametrize(("when", "stride"), [("unheard", 6), ("heard", 15)])
def test_the_operator_dies(
    calm: crash.Run, play: Play[dict[int, crash.Run]], tmp_path: Path, when: crash.When, stride: int
) -> None:
    runs = play(lambda api: crash.run_each(api, tmp_path, sample(calm, stride), AT_ONCE, when=when))
    for k, run in runs.items():
        assert run.state == calm.state, f"killed after order {k} of {run.orders}"


def test_the_operator_dies_while_jobs_are_prepared(play: Play[Any], tmp_path: Path) -> None:
    calm: crash.Run = play(lambda api: crash.run(api, tmp_path, "calm-prepared", PREPARATIONS="1"))
    assert {job["phase"] for job in calm.state["jobs"].values()} == {"Succeeded"}
    assert {name for name, _ in calm.state["pods"] if name.endswith("-prepare")} == {f"{job}-1-prepare" for job in JOBS}
    prepared = calm.orders[: len(calm.orders) // 2]
    numbers = range(1, len(prepared) + 1, STRIDE or 2)
    runs = play(lambda api: crash.run_each(api, tmp_path, numbers, AT_ONCE, PREPARATIONS="1"))
    for k, run in runs.items():
        assert run.state == calm.state, f"killed after order {k} of {run.orders}"


def test_the_leader_crashes_and_the_standby_continues(
    calm: crash.Run, play: Play[dict[int, crash.Run]], tmp_path: Path
) -> None:
    runs = play(lambda api: crash.run_each(api, tmp_path, sample(calm, 15), AT_ONCE, replicas=2, LEASE_DURATION="6"))
    for k, run in runs.items():
        assert run.state == calm.state, f"leader killed after order {k} of {run.orders}"


def test_the_resident_dies(calm: crash.Run, play: Play[dict[int, crash.Run]], tmp_path: Path) -> None:
    """It comes up with nothing loaded and no hold; loading for its users is its own business, unless a turn owes it."""
    runs = play(lambda api: crash.run_each(api, tmp_path, sample(calm, 15), AT_ONCE, victim="resident"))
    for k, run in runs.items():
        assert [unheld for _, unheld in run.state["residents"]] == [True], k
        assert run.state["leases"] == ["resident"], k
        for job in run.state["jobs"].values():
            assert (job["phase"], [attempt[2] for attempt in job["attempts"]]) == ("Succeeded", ["Completed"]), k


def test_the_trainer_dies(calm: crash.Run, play: Play[dict[int, crash.Run]], tmp_path: Path) -> None:
    """After SIGKILL there is no termination message; the attempt fails, and the next one completes."""
    training = calm.orders.index("api POST pods") + 3
    runs = play(lambda api: crash.run_each(api, tmp_path, [training], 1, victim="trainer"))
    first = runs[training].state["jobs"]["first"]
    assert [attempt[2] for attempt in first["attempts"]] in (["Error", "Completed"], ["Completed"])
    assert {job["phase"] for job in runs[training].state["jobs"].values()} == {"Succeeded"}
    assert runs[training].state["residents"] == [(True, True)]
