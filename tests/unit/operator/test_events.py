"""Events: their names, which no version changes, and the annotations for programs."""

from typing import Any, cast

import pytest

from gpu_relay.api import words
from gpu_relay.api.words import Reason
from gpu_relay.clients import events
from gpu_relay.clients.events import EventRecorder
from gpu_relay.clients.kube import Kube
from gpu_relay.domain.decision import EventRecord
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.turn import plan as turn
from tests.support.builders import lease

KEY = JobKey("vision", "digits", "12345678-aaaa")
LEASE = lease(KEY)


class Recorded:
    """Records Events in place of the API server."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    async def create(self, _: str, body: dict[str, Any]) -> None:
        self.bodies.append(body)

    @property
    def names(self) -> list[str]:
        return [body["metadata"]["name"] for body in self.bodies]


async def emitted(*notices: EventRecord) -> Recorded:
    recorded = Recorded()
    recorder = EventRecorder(cast(Kube, recorded))
    for notice in notices:
        await recorder.emit(KEY, "1", 7, notice, turn.facts(LEASE))
    return recorded


async def test_names_are_those_of_every_version_before() -> None:
    """A restarted operator of another version must not write an Event twice: these are the names of 0.1."""
    written = await emitted(
        *(EventRecord(Reason(each), "") for each in ("GPULeased", "PodCreated", "Completed", "PodLost"))
    )
    assert written.names == [
        "digits.12345678.7.14.gpuleased", "digits.12345678.7.24.podcreated", "digits.12345678.7.47.completed",
        "digits.12345678.7.58.podlost",
    ]  # fmt: skip


async def test_a_reason_without_a_place_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(events._PLACES, "Completed")
    assert (await emitted(EventRecord(Reason.COMPLETED, ""))).names == ["digits.12345678.7.99.completed"]


async def test_names_sort_in_the_order_of_a_turn() -> None:
    story = ("Preparing", "Prepared", "GPULeased", "ResidentUnloaded", "PodCreated", "TrainingRunning", "TrainingEnded",
             "ResidentLoaded", "Completed")  # fmt: skip
    names = (await emitted(*(EventRecord(Reason(each), "") for each in reversed(story)))).names
    assert [name.rsplit(".", 1)[-1] for name in sorted(names)] == [each.lower() for each in story]


async def test_annotations_do_not_depend_on_the_message() -> None:
    written = await emitted(EventRecord(Reason.COMPLETED, "x" * 5000, facts={words.ANNOTATION_NEXT_JOB: "vision/next"}))
    assert written.bodies[0]["metadata"]["annotations"] == {
        "gpurelay.dev/gpu": "gpu-1",
        "gpurelay.dev/node": "node-1",
        "gpurelay.dev/fence": "7",
        "gpurelay.dev/next-job": "vision/next",
    }
    assert len(written.bodies[0]["message"]) == 1024


async def test_an_event_outside_a_turn_has_no_turn_annotations() -> None:
    recorded = Recorded()
    await EventRecorder(cast(Kube, recorded)).emit(KEY, "1", 1, EventRecord(Reason.PREPARED, "m"))
    assert recorded.bodies[0]["metadata"]["annotations"] == {}
