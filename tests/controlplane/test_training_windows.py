"""A resident lends its GPU at certain times of the week."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

Start = Callable[..., OperatorProcess]
ANNOTATION = "gpurelay.dev/training-windows"


def other_day() -> str:
    """Return a window that does not open today or tomorrow."""
    return f"{datetime.now(UTC) + timedelta(days=3):%a}"


@pytest.fixture
def closed(world: World) -> Iterator[ScriptedResident]:
    """A resident whose window is closed."""
    resident = ScriptedResident()
    world.add_resident(resident, annotations={ANNOTATION: other_day()})
    yield resident
    resident.close()


def test_outside_its_windows_a_resident_lends_its_gpu_only_when_idle(
    world: World, closed: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("bold")
    waits = eventually(lambda: world.waits_for("bold", "OutsideTrainingWindow"), "the job to wait for a window")
    assert f"the next one begins {other_day()} " in waits["message"]
    assert closed.loaded
    closed.idle_seconds = 301
    world.apply_job(
        "polite", gpu={"memory": "10Gi", "startWhen": "ResidentIdle", "idleFor": "5m", "yieldToResident": True}
    )
    world.shows_pod("polite-1")
    world.run_pod("polite-1")
    world.end_pod("polite-1")
    world.reaches("polite", "Succeeded")
    eventually(lambda: world.waits_for("bold", "OutsideTrainingWindow"), "the other job to wait again")
    world.annotate_pod("sam3", {ANNOTATION: "Mon-Sun 00:00-24:00"})
    world.shows_pod("bold-1")


def test_a_yielding_job_stops_at_the_end_of_a_window(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(progress_interval="0.3", backoff_base="0")
    world.apply_job("long", gpu={"memory": "10Gi", "yieldToResident": True})
    world.shows_pod("long-1")
    world.run_pod("long-1")
    world.annotate_pod("sam3", {ANNOTATION: "no window"})
    eventually(lambda: world.phase("long") == "Training", "the job to train")
    world.annotate_pod("sam3", {ANNOTATION: other_day()})
    eventually(lambda: "the training window" in world.event_message("long", "YieldingToResident"), "the Event")
    eventually(lambda: world.pod_names() == [], "the pod to stop")
    eventually(lambda: world.waits_for("long", "OutsideTrainingWindow"), "the job to wait for the next window")
    eventually(lambda: resident.loaded, "the resident to serve")
    world.annotate_pod("sam3", {ANNOTATION: "Mon-Sun"})
    world.shows_pod("long-2")


def test_windows_that_cannot_be_read_are_named(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.annotate_pod("sam3", {ANNOTATION: "Mon-Fri 7pm"})
    world.apply_job("digits")
    waits = eventually(lambda: world.waits_for("digits", "OutsideTrainingWindow"), "the job to wait")
    assert "'7pm' is no time of a day from 00:00 to 24:00: write for example 'Mon-Fri 19:00-07:00" in waits["message"]
    assert resident.loaded
