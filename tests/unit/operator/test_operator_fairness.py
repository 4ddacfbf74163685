"""The clocks of a resident, and what they do to the queue: pure functions."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gpu_relay.api import words
from gpu_relay.api.v1alpha1 import Turn, YoloTrainingJobSpec, YoloTrainingJobStatus
from gpu_relay.api.words import Phase, Reason
from gpu_relay.domain.decision import CreatePod, DeletePod, HandOver, Load, ReturnLease, Unload
from gpu_relay.domain.objects.job import Job, JobKey
from gpu_relay.domain.objects.lease import HOLDER_RESIDENT, GpuLease
from gpu_relay.domain.objects.pod import Termination, TrainingPod
from gpu_relay.domain.objects.resident import GpuReport, Hold, Resident
from gpu_relay.domain.outage import clocks_of, is_exhausted, objections, outage_since, serves_until
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.quantities import duration, timestamp
from gpu_relay.domain.queue.candidate import Candidate
from gpu_relay.domain.queue.placement import explain_placement, next_for
from gpu_relay.domain.turn import plan as turn
from gpu_relay.domain.turn.acquisition import TRAINING_CONTEXT_MIB
from gpu_relay.domain.turn_view import TurnView

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
POLICY = Policy(max_outage=600, min_serve=60, idle_after=30)
KEY = JobKey("vision", "digits", "uid-1")
LOADED = GpuReport("GPU-1", "T4", 15360, 450, 14000, 910, 14000, True, "loaded", None, idle_seconds=5)
OUT = replace(LOADED, used_mib=0, free_mib=14910, model_loaded=False, state="unloaded")
AT_REST = GpuLease("gpu-1", "1", "gpu-1", HOLDER_RESIDENT, 7, None, "", "node-1", "")


def ago(seconds: float) -> str:
    return timestamp(NOW - timedelta(seconds=seconds))


def resident(report: GpuReport = LOADED, annotations: dict[str, str] | None = None) -> Resident:
    return Resident("vision", "sam3", "u", "node-1", "http://sam3", {}, report, annotations=annotations or {})


def job(**gpu: Any) -> Job:
    spec = {
        "model": "yolo26n.yaml",
        "dataset": {"persistentVolumeClaim": {"claimName": "data"}},
        "output": {"persistentVolumeClaim": {"claimName": "results"}},
        "gpu": {"memory": "10Gi", **gpu},
    }
    return Job(KEY, 1, "1", ago(60), False, YoloTrainingJobSpec.model_validate(spec), YoloTrainingJobStatus())


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("0s", 0), ("500ms", 0.5), ("1h2m3s4ms", 3723.004)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text).total_seconds() == seconds


@pytest.mark.parametrize("bad", ["", "90", "1d", "-5s", "1.5h", "m", " 5s"])
def test_what_is_no_duration_is_said(bad: str) -> None:
    with pytest.raises(ValueError, match="for example 90s"):
        duration(bad)
    assert objections({words.ANNOTATION_MIN_SERVE: bad}) == [f"{words.ANNOTATION_MIN_SERVE}: {_why(bad)}"]


def _why(bad: str) -> str:
    return f"{bad!r} is not a duration; write it in h, m, s or ms, for example 90s or 1h30m"


def test_annotations_override_the_settings_and_bad_ones_are_passed_over() -> None:
    theirs = resident(LOADED, {words.ANNOTATION_MAX_OUTAGE: "2h", words.ANNOTATION_MIN_SERVE: "soon"})
    clocks = clocks_of(POLICY, theirs)
    assert (clocks.max_outage, clocks.min_serve) == (timedelta(hours=2), timedelta(seconds=60))
    assert clocks_of(POLICY, None).idle_after == timedelta(seconds=30)


@pytest.mark.parametrize(
    ("out", "served", "exhausted", "serves"),
    [
        (None, None, False, False),
        (599, None, False, False),
        (601, None, True, False),
        (601, 10, True, True),
        (601, 61, False, False),
        (300, 10, False, False),
    ],
)
def test_an_outage_lasts_until_the_resident_has_served(
    out: float | None, served: float | None, exhausted: bool, serves: bool
) -> None:
    lease = replace(
        AT_REST, out_since=None if out is None else ago(out), served_since=None if served is None else ago(served)
    )
    clocks = clocks_of(POLICY, None)
    assert is_exhausted(lease, clocks, NOW) is exhausted
    assert (serves_until(lease, resident(), clocks, NOW) is not None) is serves
    assert (outage_since(lease, clocks, NOW) is None) is (out is None or served == 61)


def test_a_resident_that_nobody_asks_is_not_left_alone_for_the_clocks_sake() -> None:
    lease = replace(AT_REST, out_since=ago(900), served_since=ago(1))
    idle = resident(replace(LOADED, idle_seconds=31))
    assert serves_until(lease, idle, clocks_of(POLICY, idle), NOW) is None


def test_a_job_waits_while_the_resident_serves_and_is_told_until_when() -> None:
    serving = Candidate("gpu-1", resident(), {}, replace(AT_REST, out_since=ago(900), served_since=ago(20)))
    placement = explain_placement([job()], [serving], NOW, POLICY)[0]
    assert (placement.gpu, placement.reason) == (None, Reason.RESIDENT_SERVING)
    assert timestamp(NOW + timedelta(seconds=40)) in placement.message


def test_a_polite_job_waits_for_an_idle_resident_and_lets_others_pass() -> None:
    polite, bold = job(startWhen="ResidentIdle", idleFor="10s"), replace(job(), key=replace(KEY, name="b", uid="2"))
    busy, idle = Candidate("gpu-1", resident(), {}), Candidate("gpu-1", resident(replace(LOADED, idle_seconds=10)), {})
    assert [p.reason for p in explain_placement([polite, bold], [busy], NOW, POLICY)] == [
        Reason.RESIDENT_BUSY,
        Reason.GPU_LEASED,
    ]
    assert explain_placement([polite], [idle], NOW, POLICY)[0].gpu == idle
    in_flight = Candidate("gpu-1", resident(replace(LOADED, idle_seconds=10, in_flight=1)), {})
    assert explain_placement([polite], [in_flight], NOW, POLICY)[0].gpu is None
    assert next_for([polite], busy, NOW, POLICY) is None
    assert next_for([polite], idle, NOW, POLICY) == polite


POD = TrainingPod("vision", "digits-1", "p", "uid-1", "gpu-1", 8, "Running", "10.0.0.2", False, ago(500), None, None)
OURS = replace(AT_REST, holder=KEY.holder, fence=8, out_since=ago(700), acquired=ago(700))
HELD = replace(OUT, hold=Hold(KEY.holder, 8, 59.0), refused=3)
OWED = replace(AT_REST, acquired=ago(1), reload_pending=KEY.holder, out_since=ago(100))


def after_a_turn(**changes: Any) -> TurnView:
    view = TurnView(NOW, POLICY, OWED, resident(OUT), job(), successor="vision/next")
    return replace(view, **changes)


def test_the_next_turn_goes_first_while_the_outage_is_short() -> None:
    decision = turn.plan(after_a_turn())
    assert isinstance(decision.action, HandOver)
    assert decision.status is not None
    reloaded = next(c for c in decision.status.conditions if c.type == "ResidentReloaded")
    assert (reloaded.status, reloaded.reason) == ("False", Reason.GPU_PASSED_ON)
    assert "vision/next" in reloaded.message


def at_the_end(word: str = "Completed", *, out_since: float = 100, free: int = 14910, **changes: Any) -> TurnView:
    """The turn's pod has just ended, and somebody waits for the GPU."""
    ended = Termination(0, "", {"reason": word, "message": "30 epochs"}, ago(60), ago(1))
    lease = replace(OURS, out_since=ago(out_since))
    pod = replace(POD, phase="Succeeded", termination=ended, proven_mib=14910)
    report = replace(HELD, free_mib=free)
    view = TurnView(NOW, POLICY, lease, resident(report), job(), pods=(pod,), successor="vision/next")
    return replace(view, **changes)


def test_a_job_that_is_done_passes_the_gpu_on_in_one_status_and_one_event() -> None:
    decision = turn.plan(at_the_end())
    assert decision.action == ReturnLease(handed_over=True, unused_since="2026-01-01T11:59:59Z")
    assert decision.status is not None
    assert decision.status.phase == Phase.SUCCEEDED
    assert [attempt.reason for attempt in decision.status.attempts] == [Reason.COMPLETED]
    assert decision.status.gpu is not None
    assert decision.status.gpu.free_after == 14910, "a training too short for a status of its own"
    said = {condition.type: (condition.status, condition.reason) for condition in decision.status.conditions}
    assert said["ResidentReloaded"] == ("False", Reason.GPU_PASSED_ON)
    assert said["Complete"] == ("True", Reason.COMPLETED)
    created, verdict = decision.events
    assert (created.reason, verdict.reason) == (Reason.POD_CREATED, Reason.COMPLETED)
    assert verdict.message == "30 epochs; vision/next has the GPU next; the resident is loaded after it"


def test_who_dies_before_the_gpu_is_passed_on_passes_it_on_later_and_says_the_same() -> None:
    view = at_the_end()
    decision = turn.plan(view)
    assert view.job is not None
    assert decision.status is not None
    done = replace(view.job, status=decision.status)
    again = turn.plan(replace(view, job=done))
    assert isinstance(again.action, ReturnLease)
    assert again.events == ()
    returned = turn.plan(after_a_turn(job=done, lease=replace(OWED, fence=8)))
    assert isinstance(returned.action, HandOver)
    assert returned.status is None
    assert returned.events == decision.events[1:], "by name, it is the same Event"


def test_who_comes_next_is_no_news_once_it_was_told() -> None:
    first = turn.plan(after_a_turn(job=replace(job(), status=YoloTrainingJobStatus(phase=Phase.RELEASING))))
    assert first.status is not None
    assert first.status.phase == Phase.QUEUED
    waiting = replace(job(), status=first.status)
    other = turn.plan(after_a_turn(job=waiting, successor="vision/other"))
    assert isinstance(other.action, HandOver)
    assert other.requeue_after == 9, "until it is loaded after all, nothing is to be looked at"
    assert turn.plan(after_a_turn(job=waiting, lease=replace(OWED, out_since=ago(596)))).requeue_after == 4
    assert (other.status, other.events) == (None, ())


@pytest.mark.parametrize(
    ("view", "phase"),
    [
        (at_the_end(successor=""), Phase.RELEASING),
        (at_the_end(out_since=601), Phase.RELEASING),
        (at_the_end(load_failed=True), Phase.RELEASING),
        (at_the_end("OutOfMemory"), Phase.RELEASING),
        (at_the_end(free=4670), Phase.RELEASING),
        (at_the_end("DatasetInvalid"), Phase.FAILED),
    ],
)
def test_the_end_of_a_turn_is_told_by_itself_where_more_is_to_come(view: TurnView, phase: Phase) -> None:
    decision = turn.plan(view)
    assert decision.status is not None
    assert decision.status.phase == phase
    passes = isinstance(decision.action, ReturnLease) and decision.action.handed_over
    assert passes is (phase == Phase.FAILED)
    assert (decision.events[-1].reason == Reason.TRAINING_ENDED) is not passes


@pytest.mark.parametrize(
    "changes",
    [
        {"successor": ""},
        {"load_failed": True},
        {"lease": replace(OWED, out_since=ago(601))},
        {"lease": replace(OWED, acquired=ago(11))},
    ],
)
def test_the_resident_is_loaded_where_nobody_comes_or_it_was_out_for_too_long(changes: dict[str, Any]) -> None:
    assert isinstance(turn.plan(after_a_turn(**changes)).action, Load)


@pytest.mark.parametrize(
    ("yields", "report", "out", "stops"),
    [
        (True, HELD, 700, True),
        (False, HELD, 700, False),
        (True, HELD, 500, False),
        (True, replace(HELD, refused=0), 700, False),
    ],
)
def test_a_job_yields_only_when_asked_wanted_and_due(yields: bool, report: GpuReport, out: float, stops: bool) -> None:
    lease = replace(OURS, out_since=ago(out))
    view = TurnView(NOW, POLICY, lease, resident(report), job(yieldToResident=yields), pods=(POD,))
    decision = turn.plan(view)
    assert isinstance(decision.action, DeletePod) is stops
    assert (Reason.YIELDING_TO_RESIDENT in [notice.reason for notice in decision.events]) is stops


ROOMY = replace(LOADED, used_mib=4000, free_mib=10910, worker_allocated_mib=3000, worker_cap_mib=6000)


def acquiring(report: GpuReport, room: tuple[int, ...], **gpu: Any) -> TurnView:
    shared = job(**{"sharing": "Coresident", "memory": "6Gi", **gpu})
    begun = replace(OURS, unused_since=NOW.isoformat())
    return TurnView(NOW, POLICY, begun, resident(report), shared, room=room)


def test_what_fits_beside_the_resident_is_not_bought_with_an_unload() -> None:
    assert ROOMY.room_mib == 7910
    proven = turn.plan(acquiring(ROOMY, (7910,) * 3))
    assert proven.action == CreatePod(1, 16, coresident=True, proven_mib=10910)
    assert turn.plan(acquiring(ROOMY, (7910,) * 2)).action is None
    assert isinstance(turn.plan(acquiring(ROOMY, (7910, 7910, 6143))).action, Unload)
    context = 6144 + TRAINING_CONTEXT_MIB
    assert isinstance(turn.plan(acquiring(ROOMY, (7910, 7910, context - 1))).action, Unload), "beside it is its context"
    assert isinstance(turn.plan(acquiring(ROOMY, (7910, 7910, context))).action, CreatePod)
    assert isinstance(turn.plan(acquiring(ROOMY, (7910,) * 3, sharing="Exclusive")).action, Unload)
    assert isinstance(turn.plan(acquiring(ROOMY, ())).action, Unload)


def test_law_2_holds_beside_the_resident_too() -> None:
    stray = replace(POD, name="stray", job_uid="other", fence=3)
    assert turn.plan(replace(acquiring(ROOMY, (7910,) * 3), pods=(stray,))).action == DeletePod(stray)


def test_a_pod_beside_the_resident_needs_no_hold_and_its_turn_was_no_outage() -> None:
    view = replace(acquiring(ROOMY, ()), pods=(POD,))
    assert view.job is not None
    recorded = Turn(fence=8, since=ago(500), sharing="Coresident")
    for turns_status, held in ((recorded, False), (recorded.model_copy(update={"fence": 7}), True), (None, True)):
        status = view.job.status.model_copy(update={"turn": turns_status})
        decision = turn.plan(replace(view, job=replace(view.job, status=status)))
        assert isinstance(decision.action, Unload) == held
        assert decision.status is not None and decision.status.turn is not None
        assert (decision.status.turn.sharing is None) == held, "the record lasts as long as the turn"
    gone = turn.plan(replace(acquiring(ROOMY, ()), job=None))
    assert gone.action == ReturnLease(reload_pending=True, resident_out=False)
