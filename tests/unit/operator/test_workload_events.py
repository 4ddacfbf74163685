"""The Events of a Workload's turn, and the object that they are on."""

from dataclasses import replace
from typing import Any, cast

import pytest

from gpu_relay.api.words import Reason
from gpu_relay.clients.events import EventRecorder
from gpu_relay.clients.kube import Kube
from gpu_relay.controllers.turn_state import TurnState
from gpu_relay.domain.decision import EventRecord
from gpu_relay.domain.objects.event import job_event_of
from gpu_relay.domain.objects.represented import Represented
from gpu_relay.domain.turn import plan as turn
from gpu_relay.domain.turn.workload_events import WorkloadSubject, events_of, subject_of
from gpu_relay.domain.turn_view import TurnView
from tests.support import builders
from tests.support.builders import FENCE, FREE_MIB
from tests.unit.operator.test_events import Recorded
from tests.unit.operator.test_workload_turn import HOLD, KEY, READY, pod, view, workload

MINE = Represented("Job", "my-training", "batch/v1", "job-uid")


def events(seen: TurnView) -> dict[str, EventRecord]:
    return {each.reason.value: each for each in events_of(seen, turn.plan(seen))}


def after_turn(**fields: Any) -> TurnView:
    """Return the view of a GPU whose resident is to be loaded after a Workload's turn."""
    owed = builders.lease(None, reload_pending=KEY.holder, acquired=builders.ago(1))
    return builders.view(job=None, lease=owed, **fields)


def test_the_first_reconciles_of_a_turn_say_that_it_began() -> None:
    loaded = builders.resident(builders.report(loaded=True))
    found = events(view(workload(), resident=loaded, samples=()))
    assert found["GPULeased"].message == "GPU gpu-1 on node node-1 assigned"
    assert list(found) == ["GPULeased"], "the message of the check has the rest"


def test_a_turn_that_runs_began_long_ago() -> None:
    assert events(view(workload(READY, admitted=True), pods=(pod(),))) == {}
    assert "GPULeased" not in events(view(None)), "an operator that starts later does not know when"


def test_the_unload_and_the_proof_have_figures() -> None:
    found = events(view(workload(), samples=(FREE_MIB,), free_before=910))
    assert "14,910 MiB are free" in found["ResidentUnloaded"].message
    found = events(view(workload()))
    assert "14,910 MiB measured, 10,240 MiB needed" in found["MemoryProven"].message


@pytest.mark.parametrize(
    ("stopped", "outcome", "why"),
    [
        (workload(READY, finished=True), "Finished", "it has finished"),
        (workload(evicted=True), "Evicted", "Kueue has evicted it"),
        (workload(active=False), "Stopped", "it is deactivated"),
        (workload(deleting=True), "Deleted", "it is being deleted"),
        (None, "Deleted", "it is gone"),
    ],
)
def test_the_return_says_how_the_turn_ended(stopped: Any, outcome: str, why: str) -> None:
    (found,) = events(view(stopped)).values()
    assert (found.reason, found.warning) == ("GPUReturned", False)
    assert found.message == f"GPU gpu-1 on node node-1 returned: {why}"
    assert found.facts == {"gpurelay.dev/outcome": outcome}


def test_a_turn_that_ends_without_use_is_a_warning() -> None:
    lease = builders.lease(KEY, unused_since=builders.ago(200))
    found = events(view(workload(), lease=lease, samples=(3_000,)))["GPUReturned"]
    assert found.warning
    assert "has lost its GPU: 3,000 MiB free" in found.message
    assert found.facts == {}


def test_pods_that_take_more_than_they_requested_get_a_warning() -> None:
    def using(used: int, **fields: Any) -> dict[str, EventRecord]:
        held = builders.resident(builders.report(hold=HOLD, used=used))
        runs = view(workload(READY, admitted=True), pods=(pod(name="my-training-x7"),), resident=held)
        return events(replace(runs, **fields))

    assert using(10_496) == {}, "within the margin"
    warning = using(10_497)["MemoryExceeded"]
    assert warning.warning
    assert warning.message == (
        "10,497 MiB of GPU gpu-1 are in use since my-training-x7 began, 10,240 MiB were requested "
        "(gpurelay.dev/gpu-memory): request more, or find the process with nvidia-smi on node node-1"
    )
    assert using(12_000, pods=(pod(waiting="ContainerCreating"),)) == {}, "it does not run yet"
    assert using(12_000, pods=(pod(workload_uid="uid-b"),)) == {}, "a pod of another owner"


def test_an_eviction_has_the_reason_that_a_job_has() -> None:
    lease = builders.lease(KEY, out_since=builders.ago(3_600), acquired=builders.ago(3_600))
    runs = view(workload(READY, admitted=True, yields=True), pods=(pod(),), lease=lease, successor="vision/other")
    (found,) = events(runs).values()
    assert (found.reason, found.warning) == ("YieldingToResident", False)
    assert found.message == "has Kueue evict it: the resident was unloaded for its maximum outage"
    (found,) = events(view(workload(READY, admitted=True), podless_for=121.0)).values()
    assert (found.reason, found.warning) == ("PodNotStarted", True)


def test_the_reload_after_a_turn_is_published() -> None:
    back = builders.resident(builders.report(loaded=True))
    assert (
        "is loaded again: 14,000 MiB used, 910 MiB free" in events(after_turn(resident=back))["ResidentLoaded"].message
    )
    unloaded = builders.resident(builders.report())
    assert events(after_turn(resident=unloaded)) == {}
    failed = events(after_turn(resident=unloaded, load_failed=True, failure="no memory"))["ResidentLoadFailed"]
    assert failed.warning and "no memory; tries again" in failed.message
    passed = events(after_turn(resident=unloaded, successor="vision/next"))["GPUPassedOn"]
    assert passed.facts == {"gpurelay.dev/next-job": "vision/next"}


def test_the_events_of_a_job_are_those_of_the_plan() -> None:
    assert subject_of(builders.view(), MINE) is None
    owed = builders.lease(None, reload_pending=builders.KEY.holder)
    assert subject_of(builders.view(lease=owed), MINE) is None


def test_what_a_workload_represents_is_remembered_after_it_is_gone() -> None:
    assert subject_of(view(workload(represents=MINE)), None) == WorkloadSubject(KEY, MINE)
    assert subject_of(view(None), MINE) == WorkloadSubject(KEY, MINE)
    state = TurnState(builders.lease(KEY))
    state.represents = MINE
    returned = builders.lease(None, reload_pending=KEY.holder)
    assert TurnState.of(returned, state).represents == MINE
    assert TurnState.of(replace(returned, fence=FENCE + 1), state).represents is None


async def test_an_event_is_on_the_object_that_users_know() -> None:
    recorded = Recorded()
    notice, subject = EventRecord(Reason.GPU_LEASED, "m"), WorkloadSubject(KEY, MINE)
    facts = {**turn.facts(builders.lease(KEY)), **subject.facts}
    for represents in (MINE, None):
        await EventRecorder(cast(Kube, recorded)).emit(KEY, "", FENCE, notice, facts, represents)
    mine, own = (body["involvedObject"] for body in recorded.bodies)
    assert mine == {
        "apiVersion": "batch/v1", "kind": "Job", "name": "my-training", "uid": "job-uid", "namespace": "vision",
    }  # fmt: skip
    assert (own["apiVersion"], own["kind"], own["name"]) == ("kueue.x-k8s.io/v1beta2", "Workload", "job-a")
    assert recorded.names == ["job-a.uid-a.7.14.gpuleased.gpu-1"] * 2, "the same Event, so it is written once"
    read = job_event_of(recorded.bodies[0])
    assert (read.key, read.represents, read.gpu, read.turn) == (KEY, MINE, "gpu-1", FENCE)


async def test_each_gpu_of_a_workload_has_its_events() -> None:
    recorded = Recorded()
    recorder, notice = EventRecorder(cast(Kube, recorded)), EventRecord(Reason.GPU_LEASED, "m")
    for gpu in ("gpu-1", "gpu-2"):
        await recorder.emit(KEY, "", FENCE, notice, turn.facts(builders.lease(KEY, gpu=gpu)), MINE)
    assert len(set(recorded.names)) == 2, "the fences of two GPUs may be equal"


def test_the_seconds_of_running_pods_add_up() -> None:
    now = [100.0]
    state = TurnState(builders.lease(KEY), lambda: now[0])
    for running, seconds in ((True, 10), (False, 5), (False, 5), (True, 20), (False, 0)):
        state.note_running(running=running)
        now[0] += seconds
    assert state.ran_for == 30
