"""How long jobs will run, from what finished jobs took, and when waiting jobs will start."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from gpu_relay.api.v1alpha1 import Attempt, Progress
from gpu_relay.api.words import Phase
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.quantities import parse_time, timestamp
from gpu_relay.domain.queue.estimate import estimated_starts
from gpu_relay.domain.queue.placement import explain_placement
from gpu_relay.domain.queue.run_lengths import Lengths, has_trained
from tests.support.builders import NOW, ago, attempt, job, training

INTERRUPTED = attempt(1, "Interrupted", epoch=60, start_time=ago(900), completion_time=ago(800))


def completed(name: str, epochs: int, took: float, *earlier: Attempt, **spec: Any) -> Job:
    """A job whose last attempt ended with so many epochs after so many seconds."""
    number = len(earlier) + 1
    last = attempt(number, "Completed", epoch=epochs, start_time=ago(100 + took), completion_time=ago(100))
    return job(name, status={"phase": Phase.SUCCEEDED, "attempts": [*earlier, last]}, **spec)


def seconds(lengths: Lengths, of: Job) -> float | None:
    length = lengths.of(of)
    return None if length is None else length.total_seconds()


def test_a_length_follows_from_the_seconds_per_epoch() -> None:
    pace = Lengths([completed("a", 100, 600), completed("b", 200, 2400), completed("c", 50, 100)])
    assert seconds(pace, job(training={"epochs": 50})) == 50 * 6, "the median of 6, 12 and 2 s per epoch"
    assert seconds(pace, job(training={"epochs": 400})) == 400 * 9, "50 epochs are no basis for 400"
    assert seconds(pace, job(training={"epochs": 400, "timeLimit": "1h"})) == 3600


def test_a_short_run_is_no_basis_for_a_long_one() -> None:
    short = Lengths([completed("short", 3, 30)])
    assert seconds(short, job(training={"epochs": 300})) is None
    assert seconds(short, job(training={"epochs": 12})) == 120


def test_only_the_same_training_is_a_basis() -> None:
    pace = Lengths([completed("a", 100, 600)])
    assert seconds(pace, job()) == 600
    assert seconds(pace, job(model="yolo26x.pt")) is None
    assert seconds(pace, job(training={"imageSize": 1280})) is None
    assert seconds(pace, job(dataset={"uri": "s3://data/other.zip"})) is None
    stranger = job()
    assert seconds(pace, replace(stranger, key=replace(stranger.key, namespace="other"))) is None
    assert seconds(Lengths([]), job()) is None


def test_epochs_before_an_interruption_are_not_counted_again() -> None:
    pace = Lengths([completed("a", 100, 400, INTERRUPTED)])
    assert seconds(pace, job()) == 1000, "40 epochs took 400 s"
    assert seconds(pace, job(status={"attempts": [INTERRUPTED]})) == 400


def test_unknown_epochs_are_no_basis() -> None:
    """A continued run has epochs before its first attempt; the other modes have none at all."""
    pace = Lengths([completed("a", 100, 600)])
    assert seconds(pace, job(resumeFrom="runs/one")) is None
    assert seconds(pace, job(resumeFrom="runs/one", status={"attempts": [INTERRUPTED]})) == 240, "40 epochs are left"
    assert seconds(pace, job(mode="Validate")) is None
    assert seconds(Lengths([completed("b", 100, 60, resumeFrom="runs/one")]), job()) is None


def test_starts_are_estimated_from_etas_and_finished_jobs() -> None:
    finished = completed("finished", epochs=100, took=600)
    owner, candidate = training("owner", "gpu-a", 200)
    progress = Progress(epoch=1, epochs=2, summary="1/2", eta=timestamp(NOW + timedelta(seconds=120)))
    trains = replace(owner, status=owner.status.model_copy(update={"progress": progress}))
    waiting = [job("one", priority=2), job("two", priority=1)]

    def starts(*jobs: Job, queue: list[Job] = waiting) -> list[float | None]:
        owners, lengths = {each.key.holder: each for each in jobs}, Lengths(filter(has_trained, jobs))
        places = explain_placement(queue, [candidate], NOW, Policy())
        found = estimated_starts(places, [candidate], owners, lengths, NOW, Policy())
        times = [found.get(each.key.uid) for each in queue]
        return [None if at is None else (parse_time(at) - NOW).total_seconds() for at in times]

    assert starts(trains, finished) == [120, 720]
    assert starts(trains) == [120, None], "how long the first will train is unknown"
    assert starts(owner, finished) == [400, 1000], "no eta yet: begun 200 s ago, 100 epochs take 600 s"
    assert starts(owner) == [None, None]
    published = [job("one", status={"estimated_start_time": timestamp(NOW + timedelta(seconds=100))})]
    assert starts(trains, queue=published) == [100], "it is no news that it moved by 20 s"
