"""What is read of a job and of pods, from empty to finished."""

import json
from typing import Any

from demo.views import Attempt, Identity, identity, job_view, terminated

WORD = json.dumps({"reason": "OutOfMemory", "message": "out of GPU memory before the first epoch", "epoch": 0})


def test_a_job_without_a_status() -> None:
    view = job_view({"metadata": {"name": "digits"}})
    assert (view.phase, view.pod, view.epoch, view.map50, view.attempts) == ("", "", 0, None, ())
    assert not view.training_ended


def test_a_waiting_job_shows_its_reason() -> None:
    waiting = {"type": "Reconciling", "status": "True", "message": "asks the resident to unload"}
    view = job_view({"status": {"phase": "Acquiring", "conditions": [waiting], "gpu": {"freeBefore": 910}}})
    assert (view.phase, view.says) == ("Acquiring", "asks the resident to unload")
    assert (view.free_before, view.free_after) == (910, None)


def test_a_false_condition_is_not_shown() -> None:
    conditions = [
        {"type": kind, "status": "False", "message": "old"} for kind in ("Reconciling", "Failed", "ResidentReloaded")
    ]
    view = job_view({"status": {"conditions": conditions}})
    assert (view.says, view.failure, view.resident_reloaded) == ("", "", False)


def test_a_job_in_training() -> None:
    progress = {"epoch": 3, "epochs": 8, "metrics": {"mAP50": 0.4, "mAP50_95": 0.2}}
    view = job_view({"status": {"phase": "Training", "pod": "digits-1", "progress": progress}})
    assert (view.pod, view.epoch, view.map50) == ("digits-1", 3, 0.4)
    assert not view.training_ended


def test_an_ended_attempt_ends_the_training() -> None:
    attempt = {"number": 1, "pod": "digits-1", "fence": 3, "reason": "Completed", "message": "8 of 8", "exitCode": 0}
    view = job_view({"status": {"phase": "Releasing", "attempts": [attempt]}})
    assert view.attempts == (Attempt(1, "digits-1", "Completed", "8 of 8", 0),)
    assert view.training_ended


def test_a_job_that_failed_without_a_pod_has_ended_too() -> None:
    failed = {"type": "Failed", "status": "True", "message": "asks for 20 GiB"}
    view = job_view({"status": {"phase": "Failed", "conditions": [failed]}})
    assert view.training_ended
    assert view.failure == "asks for 20 GiB"


def pod(state: dict[str, Any], restarts: int = 0) -> dict[str, Any]:
    container = {"name": "trainer", "restartCount": restarts, "state": state}
    return {"metadata": {"name": "p", "uid": "u"}, "status": {"containerStatuses": [container]}}


def ended(message: str) -> dict[str, Any]:
    times = {"startedAt": "2026-01-01T00:00:05Z", "finishedAt": "2026-01-01T00:01:05Z"}
    return pod({"terminated": {"exitCode": 12, "message": message, **times}})


def test_a_pod_that_has_not_ended() -> None:
    assert terminated({"metadata": {"name": "p"}}) is None
    assert terminated(pod({"running": {"startedAt": "2026-01-01T00:00:05Z"}})) is None


def test_an_ended_pod_with_its_last_word() -> None:
    end = terminated(ended(WORD))
    assert end is not None
    assert (end.exit_code, end.reason, end.message) == (12, "OutOfMemory", "out of GPU memory before the first epoch")
    assert end.finished - end.started == 60


def test_an_ended_pod_without_a_sensible_last_word() -> None:
    for message in ("", "Killed", "[1]"):
        end = terminated(ended(message))
        assert end is not None
        assert (end.exit_code, end.reason) == (12, "")


def test_an_identity_changes_with_a_restart() -> None:
    assert identity(pod({}, restarts=1)) == Identity("u", 1) != identity(pod({}))
