"""The record of attempts in a job's status: its size is bounded, and no attempt that counts is dropped."""

import pytest

from gpu_relay.api.v1alpha1 import Attempt, YoloTrainingJobStatus
from gpu_relay.api.words import Reason
from gpu_relay.domain.job.attempt_history import fruitless_in_a_row, refused_in_a_row, remembered
from tests.support.builders import attempt


@pytest.mark.parametrize(
    ("ends", "fruitless", "refused"),
    [
        ([], 0, 0),
        ([("WrongGpu", None)] * 3, 3, 3),
        ([("WrongGpu", None), ("Error", None), ("WrongGpu", None)], 1, 1),
        ([("Interrupted", 3), ("Interrupted", 3)], 1, 0),
        ([("Interrupted", 3), ("Interrupted", 4)], 0, 0),
        ([("WaitingForMemory", None), ("WrongGpu", None)], 2, 1),
        ([("WrongGpu", None), ("Suspended", None)], 0, 0),
    ],
)
def test_attempts_in_a_row(ends: list[tuple[str, int | None]], fruitless: int, refused: int) -> None:
    record = [attempt(number, reason, epoch=epoch) for number, (reason, epoch) in enumerate(ends, start=1)]
    assert (fruitless_in_a_row(record), refused_in_a_row(record)) == (fruitless, refused)


def many(number: int, *, failing_every: int) -> list[Attempt]:
    return [
        attempt(n, Reason.OUT_OF_MEMORY if n % failing_every == 0 else Reason.POD_LOST, message="x" * 1024)
        for n in range(1, number + 1)
    ]


def test_few_attempts_are_kept_as_they_are() -> None:
    few = many(20, failing_every=3)
    assert remembered(few) == few


def test_many_interruptions_leave_what_counts() -> None:
    kept: list[Attempt] = []
    for each in many(300, failing_every=10):
        kept = remembered([*kept, each])
    assert [a.number for a in kept] == sorted({a.number for a in kept})
    assert kept[-1].number == 300
    assert sum(a.reason == Reason.OUT_OF_MEMORY for a in kept) == 30
    assert len(kept) < 150
    assert len(YoloTrainingJobStatus(attempts=kept).model_dump_json()) < 80_000


def test_the_most_failures_that_a_job_may_have_fit() -> None:
    kept = remembered(many(1001, failing_every=1))
    assert len(kept) == 1001
    assert len(YoloTrainingJobStatus(attempts=kept).model_dump_json()) < 600_000
