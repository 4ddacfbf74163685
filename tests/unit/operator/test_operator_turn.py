"""Single rules of the plan, by table: what the model of the turn reaches too rarely."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gpu_relay.api.v1alpha1 import Attempt, YoloTrainingJobSpec, YoloTrainingJobStatus
from gpu_relay.api.words import Phase, Reason
from gpu_relay.domain.decision import CreatePod, DeletePod, Load, ReturnLease, Unload
from gpu_relay.domain.objects.job import Job, JobKey
from gpu_relay.domain.objects.lease import HOLDER_RESIDENT, GpuLease
from gpu_relay.domain.objects.pod import Termination, TrainingPod
from gpu_relay.domain.objects.resident import GpuReport, Hold, Resident
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.turn import plan as turn
from gpu_relay.domain.turn_view import TurnView

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEY = JobKey("vision", "digits", "uid-1")
SPEC = {
    "model": "yolo26n.yaml",
    "dataset": {"persistentVolumeClaim": {"claimName": "data"}},
    "output": {"persistentVolumeClaim": {"claimName": "results"}},
    "gpu": {"memory": "10Gi"},
}
OURS = GpuLease("gpu-1", "1", "gpu-1", KEY.holder, 7, "2026-01-01T11:59:00Z", "key", "node-1", "")
THEIRS = replace(OURS, holder=HOLDER_RESIDENT, reload_pending=KEY.holder)
HELD = Hold(KEY.holder, 7, 60.0)


def job(**status: Any) -> Job:
    spec = YoloTrainingJobSpec.model_validate(SPEC)
    return Job(KEY, 1, "1", "2026-01-01T11:58:00Z", False, spec, YoloTrainingJobStatus(**status))


def resident(*, loaded: bool = False, free: int = 14_910, hold: Hold | None = HELD) -> Resident:
    state = "loaded" if loaded else "unloaded"
    report = GpuReport("GPU-1", "T4", 15_360, 450, 14_910 - free, free, 14_000, loaded, state, hold)
    return Resident("gpu-relay", "sam3", "u", "node-1", "http://sam3", {}, report)


def pod(**changes: Any) -> TrainingPod:
    made = TrainingPod(
        "vision", "digits-1", "p", KEY.uid, "gpu-1", 7, "Running",
        "10.0.0.1", False, "2026-01-01T11:59:30Z", None, None,
    )  # fmt: skip
    return replace(made, **changes)


def view(**changes: Any) -> TurnView:
    made = TurnView(NOW, Policy(), OURS, resident(), job(), samples=(14_910,) * 3)
    return replace(made, **changes)


def test_a_pod_is_created_only_with_all_samples_enough() -> None:
    assert isinstance(turn.plan(view()).action, CreatePod)
    assert turn.plan(view(samples=(14_910, 14_910))).action is None
    assert turn.plan(view(samples=(14_910, 9_000, 14_910))).action is None
    assert turn.plan(view(samples=(10_240,) * 3)).action is None, "the margin counts"


def test_the_hold_must_be_this_turns() -> None:
    for hold in (None, replace(HELD, fence=6), replace(HELD, holder="yolotrainingjob/vision/other/uid-2")):
        assert isinstance(turn.plan(view(resident=resident(hold=hold))).action, Unload)


def test_the_hold_is_renewed_after_a_third_of_its_ttl() -> None:
    fresh, due = replace(HELD, expires_in_seconds=50), replace(HELD, expires_in_seconds=39)
    assert turn.plan(view(pods=(pod(),), resident=resident(hold=fresh))).action is None
    assert isinstance(turn.plan(view(pods=(pod(),), resident=resident(hold=due))).action, Unload)


def test_a_mute_resident_is_not_free() -> None:
    mute = replace(resident(), report=None, error="no answer within 5 s")
    decision = turn.plan(view(resident=mute))
    assert decision.action is None
    assert decision.events[-1].reason == Reason.RESIDENT_UNREACHABLE


def test_a_stray_pod_is_stopped_before_anything_starts_or_loads() -> None:
    stray = pod(name="stray-1", job_uid="uid-0", fence=3)
    assert turn.plan(view(pods=(stray,))).action == DeletePod(stray)
    assert turn.plan(view(lease=THEIRS, pods=(stray,))).action == DeletePod(stray)
    assert turn.plan(view(lease=THEIRS, pods=(replace(stray, deleting=True),))).action is None


def test_the_load_is_asked_for_when_nothing_runs() -> None:
    assert isinstance(turn.plan(view(lease=THEIRS, job=job(phase=Phase.RELEASING))).action, Load)


def test_a_pod_that_the_api_server_refuses_is_tried_again_and_then_given_up() -> None:
    refused = view(refusal=Reason.POD_REFUSED, failure="the API server refuses the training pod: exceeded quota")
    decision = turn.plan(refused)
    assert isinstance(decision.action, CreatePod)
    assert decision.events[-1].reason == Reason.POD_REFUSED
    given_up = turn.plan(replace(refused, refused_for=61))
    assert given_up.action is None
    assert given_up.status is not None
    assert given_up.status.attempts[-1].reason == Reason.POD_REFUSED
    assert "exceeded quota" in given_up.status.attempts[-1].message


def test_the_lease_waits_until_the_memory_is_back() -> None:
    ended = Attempt(number=1, pod="digits-1", fence=7, reason=Reason.COMPLETED, completion_time="2026-01-01T11:59:58Z")
    turn_ = {"fence": 7, "since": "2026-01-01T11:59:00Z"}
    done = job(phase=Phase.RELEASING, attempts=[ended], turn=turn_, gpu={"freeAfter": 14_910})
    assert turn.plan(view(job=done, resident=resident(free=4_670))).action is None
    assert isinstance(turn.plan(view(job=done)).action, ReturnLease)


def test_the_pod_knows_what_was_free_before_it_where_no_status_does() -> None:
    ended = pod(phase="Succeeded", termination=Termination(0, "", {"reason": "Completed"}), proven_mib=14_910)
    assert turn.plan(view(pods=(ended,), resident=resident(free=4_670))).action is None
    assert isinstance(turn.plan(view(pods=(ended,))).action, ReturnLease)


def test_a_pod_that_never_starts_gives_the_gpu_back() -> None:
    stuck = pod(
        phase="Pending",
        waiting="ErrImagePull: no such image",
        waiting_reason="ErrImagePull",
        created="2026-01-01T11:40:00Z",
    )
    decision = turn.plan(view(pods=(stuck,)))
    assert decision.action == DeletePod(stuck)
    assert decision.status is not None
    lost = turn.plan(view(job=replace(job(), status=decision.status)))
    assert lost.status is not None
    assert lost.status.attempts[-1].reason == Reason.IMAGE_PULL_FAILED
    assert "ErrImagePull" in lost.status.attempts[-1].message
