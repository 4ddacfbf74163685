"""Until when a job may run, and when it is deleted."""

from datetime import timedelta

from gpu_relay.api.words import Phase
from gpu_relay.domain.job.deadlines import deadline, expires_at
from tests.support.builders import NOW, ago, job


def test_the_deadline_pauses_while_suspended() -> None:
    begun = {"start_time": ago(60)}
    assert deadline(job()) is None
    assert deadline(job(activeDeadlineSeconds=50)) is None, "not before the first turn"
    assert deadline(job(activeDeadlineSeconds=50, status=begun)) == NOW - timedelta(seconds=10)
    assert deadline(job(activeDeadlineSeconds=50, suspend=True, status=begun)) is None
    assert deadline(job(activeDeadlineSeconds=50, status={**begun, "phase": Phase.SUCCEEDED})) is None


def test_only_finished_jobs_expire() -> None:
    over = {"phase": Phase.FAILED, "completion_time": ago(60)}
    assert expires_at(job(status=over)) is None
    assert expires_at(job(ttlSecondsAfterFinished=0, status={"phase": Phase.TRAINING})) is None
    assert expires_at(job(ttlSecondsAfterFinished=0, status=over)) == NOW - timedelta(seconds=60)
