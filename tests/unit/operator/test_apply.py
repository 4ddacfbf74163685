"""A change of a job is applied in the order that it needs: status, Events, action."""

import asyncio
import re
from typing import Any, cast

import pytest

from devcluster.paths import REPOSITORY
from gpu_relay.api.v1alpha1 import YoloTrainingJobSpec, YoloTrainingJobStatus
from gpu_relay.api.words import Phase, Reason
from gpu_relay.clients.events import EventRecorder
from gpu_relay.clients.jobs import JobStore
from gpu_relay.clients.kube import KubeError
from gpu_relay.controllers.apply import Applier, Change, Outcome
from gpu_relay.domain.decision import EventRecord
from gpu_relay.domain.objects.job import Job, UnreadableJob
from gpu_relay.domain.objects.owner import JobKey

KEY = JobKey("vision", "digits", "uid-1")
SPEC = {
    "model": "yolo26n.yaml",
    "dataset": {"uri": "https://host/digits.zip"},
    "output": {"persistentVolumeClaim": {"claimName": "results"}},
    "gpu": {"memory": "10Gi"},
}
CREATED = EventRecord(Reason.POD_CREATED, "created pod digits-1")
RUNNING = EventRecord(Reason.TRAINING_RUNNING, "digits-1 trains")


class Cluster:
    """Stands for the clients: keeps what begins and ends, in order; a step named in `errors` fails."""

    def __init__(self, **errors: int) -> None:
        self.log: list[str] = []
        self.errors = errors

    async def step(self, name: str) -> None:
        self.log.append(name)
        for _ in range(9):  # others can begin meanwhile
            await asyncio.sleep(0)
        if name in self.errors:
            raise KubeError(self.errors[name], "", name)
        self.log.append(f"{name} done")

    async def write_status(self, job: Job, status: YoloTrainingJobStatus) -> None:
        await self.step("status")

    async def report_unreadable(self, job: UnreadableJob) -> None:
        await self.step("status")

    async def emit(self, key: JobKey, version: str, number: int, event: EventRecord, facts: Any, about: Any) -> None:
        await self.step(event.reason)

    async def act(self) -> None:
        await self.step("action")

    async def apply(self, change: Change | None) -> Outcome:
        return await self.applier.apply(change, self.act)

    @property
    def applier(self) -> Applier:
        return Applier(cast(JobStore, self), cast(EventRecorder, self))

    def precedes(self, first: str, then: str) -> bool:
        """True if a step had ended before another one began."""
        return self.log.index(f"{first} done") < self.log.index(then)


def job(*, suspend: bool = False, **status: Any) -> Job:
    spec = YoloTrainingJobSpec.model_validate({**SPEC, "suspend": suspend})
    return Job(KEY, 3, "1", "2026-01-01T11:58:00Z", False, spec, YoloTrainingJobStatus(**status))


def change(phase: Phase, **more: Any) -> Change:
    return Change(job(), 7, YoloTrainingJobStatus(phase=phase), (CREATED, RUNNING), **more)


async def test_status_and_events_are_written_before_the_action() -> None:
    cluster = Cluster()
    assert await cluster.apply(change(Phase.TRAINING)) is Outcome.APPLIED
    assert not cluster.precedes("status", "PodCreated")
    assert not cluster.precedes("PodCreated", "status")
    assert cluster.precedes("status", "action")
    assert cluster.precedes("TrainingRunning", "action")


async def test_a_verdict_is_published_after_its_status() -> None:
    cluster = Cluster()
    await cluster.apply(change(Phase.SUCCEEDED))
    assert cluster.precedes("status", "PodCreated")
    again = Cluster()
    await again.apply(Change(job(phase=Phase.FAILED), 7, events=(CREATED,)))
    assert again.log == ["PodCreated", "PodCreated done", "action", "action done"], "an unchanged status is not written"


async def test_unrepeated_events_precede_the_status() -> None:
    for phase in (Phase.PREPARING, Phase.FAILED):
        cluster = Cluster()
        await cluster.apply(change(phase, events_first=True))
        assert cluster.precedes("TrainingRunning", "status")
        assert cluster.precedes("status", "action")


async def test_an_unreadable_job_is_reported_before_its_event() -> None:
    cluster = Cluster()
    unreadable = UnreadableJob(KEY, 3, "1", "spec.gpu is missing", is_reported=False)
    await cluster.apply(Change(unreadable, 3, events=(CREATED,)))
    assert cluster.precedes("status", "PodCreated")


async def test_no_action_rests_on_an_unwritten_status() -> None:
    for code, outcome in ((409, Outcome.CONFLICT), (404, Outcome.GONE)):
        for phase in (Phase.TRAINING, Phase.SUCCEEDED):
            cluster = Cluster(status=code)
            assert await cluster.apply(change(phase)) is outcome
            assert "action" not in cluster.log
        verdict = Cluster(status=code)
        await verdict.apply(change(Phase.FAILED))
        assert verdict.log == ["status"], "a verdict that does not stand is not published"


async def test_only_a_conflict_of_the_action_is_not_raised() -> None:
    assert await Cluster(action=409).apply(None) is Outcome.CONFLICT
    assert await Cluster(action=404).apply(change(Phase.TRAINING)) is Outcome.GONE
    for step in ("status", "action"):
        with pytest.raises(KubeError):
            await Cluster(**{step: 503}).apply(change(Phase.TRAINING))


async def test_the_resumption_of_a_suspended_job_is_published() -> None:
    cluster = Cluster()
    await cluster.applier.publish_resumption(job(phase=Phase.SUSPENDED, suspend=True))
    await cluster.applier.publish_resumption(job(phase=Phase.QUEUED))
    assert cluster.log == []
    await cluster.applier.publish_resumption(job(phase=Phase.SUSPENDED))
    assert cluster.log == ["Resumed", "Resumed done"]


def test_one_module_writes_statuses_and_events() -> None:
    modules = (REPOSITORY / "operator" / "gpu_relay").rglob("*.py")
    writers = {module.name for module in modules if re.search(r"\.(write_status|emit)\b", module.read_text())}
    assert writers == {"apply.py"}
