"""How often the status of waiting jobs is updated: a queue moves with every turn."""

from dataclasses import replace

from gpu_relay.api.v1alpha1 import YoloTrainingJobStatus
from gpu_relay.api.words import Phase, Reason
from gpu_relay.domain.job import status
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.queue.placement import Placement, place_message
from gpu_relay.domain.queue.status_throttle import is_same, needs_immediate_update, needs_update, position_error
from tests.support.builders import NOW, job

SOON, LATER = "2026-01-01T13:00:00Z", "2026-01-01T18:00:00Z"


def published(position: int, start: str | None = None, reason: Reason = Reason.WAITING_IN_QUEUE) -> Job:
    """Return a job with a published position."""
    said = status.queued(job(), NOW, position, start, reason, place_message(position))
    return job(status=said)


def at(waiting: Job, position: int, reason: Reason = Reason.WAITING_IN_QUEUE, message: str = "") -> Placement:
    return Placement(waiting, position, (), reason, message or place_message(position))


def test_a_new_reason_to_wait_is_published_immediately() -> None:
    new = job()
    assert needs_immediate_update(at(new, 9_999), None)
    assert not needs_immediate_update(at(published(9_999), 9_998), None)
    assert needs_immediate_update(at(published(2), 2, Reason.NO_GPU_FITS, "too small"), None)
    serving = published(1, reason=Reason.RESIDENT_SERVING)
    assert needs_immediate_update(at(serving, 1, Reason.RESIDENT_SERVING, "serves until noon"), None)
    assert needs_immediate_update(at(published(3), 3), SOON), "an estimate where there was none"


def test_positions_are_exact_at_the_head_and_coarse_behind() -> None:
    for before, now, moved in [
        (3, 2, True), (11, 10, True), (10, 11, True), (12, 11, False), (100, 26, False), (100, 25, True),
        (10_000, 9_999, False), (10_000, 2_500, True), (50, 51, False), (50, 200, True), (7, 7, False),
    ]:  # fmt: skip
        assert needs_update(at(published(before), now), None) == moved, (before, now)


def test_a_long_queue_costs_each_job_few_writes() -> None:
    for length, most in ((1_000, 14), (10_000, 16)):
        job, writes = published(length), 1
        for position in range(length - 1, 0, -1):
            if needs_update(at(job, position), None):
                job, writes = published(position), writes + 1
        assert writes <= most, "without the pause between two of them"


def test_the_most_outdated_position_is_published_first() -> None:
    moved = [at(published(9), 8), at(published(40), 10), at(published(10_000), 2_500), at(published(100, SOON), 100)]
    assert max(moved, key=position_error) == moved[1], "the nearer of two that are equally wrong"
    assert sorted(map(position_error, moved)) == [1, 9 / 8, 4, 4]


def test_estimates_move_places_too() -> None:
    assert needs_update(at(published(100, SOON), 100), LATER)
    assert not needs_update(at(published(100, SOON), 100), SOON)
    assert not needs_update(at(published(100, SOON), 100), None), "an estimate that cannot be made any more stays"


def test_a_published_position_does_not_change_the_job() -> None:
    seen = published(7)
    assert is_same(replace(published(2, SOON), resource_version="3"), seen)
    assert is_same(seen, replace(seen, status=YoloTrainingJobStatus()))
    assert not is_same(replace(seen, generation=2), seen)
    assert not is_same(replace(seen, deleting=True), seen)
    assert not is_same(replace(seen, local_queue="team"), seen)
    training = seen.status.model_copy(update={"phase": Phase.TRAINING})
    assert not is_same(replace(seen, status=training), seen)
