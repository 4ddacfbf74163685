"""A job whose pod was refused before its turn is held back, by the clock that the operator is given."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import cast

from gpu_relay.api.v1alpha1 import YoloTrainingJobSpec, YoloTrainingJobStatus
from gpu_relay.api.words import Reason
from gpu_relay.clients.jobs import JobStore
from gpu_relay.clients.pods import PodStore
from gpu_relay.clients.pvcs import PvcStore
from gpu_relay.controllers.preflight import Preflight, Refusal
from gpu_relay.controllers.runtime.rate_limit import RateLimit
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.pods.pod_builder import TrainerDefaults

SPEC = {
    "model": "yolo26n.yaml",
    "dataset": {"uri": "https://host/digits.zip"},
    "output": {"persistentVolumeClaim": {"claimName": "results"}},
    "gpu": {"memory": "10Gi"},
}
JOB = Job(
    JobKey("vision", "digits", "uid-1"), 1, "1", "2026-01-01T11:58:00Z", False,
    YoloTrainingJobSpec.model_validate(SPEC), YoloTrainingJobStatus(),
)  # fmt: skip
REFUSAL = Refusal(Reason.POD_REFUSED, "exceeded quota")


class Time:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds


def preflight(clock: Time) -> Preflight:
    nothing = object()
    return Preflight(
        cast(JobStore, nothing), cast(PodStore, nothing), cast(PvcStore, nothing),
        cast(TrainerDefaults, nothing), clock,
    )  # fmt: skip


def test_a_refused_job_is_held_back_for_longer_each_time() -> None:
    clock = Time()
    checks, pauses = preflight(clock), []
    for _ in range(7):
        checks.hold(JOB, REFUSAL)
        pause = checks.next_check()
        assert pause is not None
        pauses.append(pause)
        clock.seconds += pause - 0.1
        assert checks.held([JOB]) == {"uid-1": (Reason.POD_REFUSED, "exceeded quota")}
        clock.seconds += 0.1
        assert checks.held([JOB]) == {}
    assert pauses == [2, 4, 8, 16, 32, 60, 60]


def test_a_job_whose_spec_has_changed_is_checked_again() -> None:
    checks = preflight(Time())
    checks.hold(JOB, REFUSAL)
    assert checks.held([replace(JOB, generation=2)]) == {}
    assert checks.next_check() is None


async def test_a_pass_rests_three_times_as_long_as_it_took() -> None:
    clock = Time()
    rate_limit = RateLimit(clock.monotonic)

    async def reconcile() -> None:
        clock.seconds += 8

    await rate_limit.keep("queue", reconcile())
    assert rate_limit.rest("queue") == 24
    clock.seconds += 24
    assert rate_limit.rest("queue") == 0
