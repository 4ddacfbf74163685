"""However often a job is interrupted, its status fits into the API server, and nothing that counts is forgotten."""

from gpu_relay.api.v1alpha1 import Attempt, YoloTrainingJobStatus
from gpu_relay.api.words import Reason
from gpu_relay.domain.job.attempt_history import remembered


def attempts(number: int, *, failing_every: int) -> list[Attempt]:
    return [
        Attempt(
            number=n, pod=f"digits-{n}", fence=n, message="x" * 1024, completion_time="2026-01-01T00:00:00Z",
            reason=Reason.OUT_OF_MEMORY if n % failing_every == 0 else Reason.POD_LOST,
        )
        for n in range(1, number + 1)
    ]  # fmt: skip


def test_few_attempts_are_kept_as_they_are() -> None:
    few = attempts(20, failing_every=3)
    assert remembered(few) == few


def test_many_interruptions_leave_what_counts() -> None:
    kept: list[Attempt] = []
    for attempt in attempts(300, failing_every=10):
        kept = remembered([*kept, attempt])
    assert [a.number for a in kept] == sorted({a.number for a in kept})
    assert kept[-1].number == 300
    assert sum(a.reason == Reason.OUT_OF_MEMORY for a in kept) == 30
    assert len(kept) < 150
    assert len(YoloTrainingJobStatus(attempts=kept).model_dump_json()) < 80_000


def test_the_most_failures_that_a_job_may_have_fit() -> None:
    kept = remembered(attempts(1001, failing_every=1))
    assert len(kept) == 1001
    assert len(YoloTrainingJobStatus(attempts=kept).model_dump_json()) < 600_000
