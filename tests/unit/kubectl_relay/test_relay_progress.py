"""What is shown of a job that is followed."""

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from gpu_relay.api.v1alpha1 import Curve, Progress
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.quantities import timestamp
from kubectl_relay.exits import Exit
from kubectl_relay.show.watching import Panel
from kubectl_relay.views.losses import losses
from kubectl_relay.views.progress import curves, ending, line, sparkline
from tests.unit.kubectl_relay.relay_world import NOW, ago, condition, job, queued, training


def with_course(epochs: str, metrics: dict[str, str], losses: dict[str, str] | None = None) -> Job:
    before = training()
    course = Curve(epochs=epochs, metrics=metrics, losses=losses or {})
    return replace(before, status=before.status.model_copy(update={"curve": course}))


def shown(what: Job, width: int = 110) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, highlight=False, markup=False).print(Panel(what, lambda: NOW))
    return [text.rstrip() for text in file.getvalue().splitlines()]


def test_a_curve_begins_with_the_training_and_ends_now() -> None:
    seen = curves(with_course("2 4", {"mAP50": "0.1 0.4"}, {"box": "3 2.5"}))
    assert seen == {"mAP50": [0.1, 0.4, 0.6], "box": [3, 2.5]}
    assert list(seen) == ["mAP50", "box"], "metrics first"


def test_an_epoch_counts_once() -> None:
    assert curves(with_course("4 12", {"mAP50": "0.1 0.6"})) == {"mAP50": [0.1, 0.6]}


def test_a_curve_is_drawn_between_its_least_and_its_most() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 0, 7, 7], 2) == "▁█"
    assert sparkline([5, 5], 8) == "▄▄"
    assert sparkline([], 8) == ""


def test_a_running_job_on_a_screen() -> None:
    assert shown(with_course("10 11", {"mAP50": "0.1 0.4"})) == [
        "vision/digits  yolo26n.yaml, 100 epochs  on Tesla T4 of node-1, 14,910 MiB measured free, 10,240 MiB granted",
        "Preparing → Queued → Acquiring →  Training  → Releasing → Succeeded",
        "━━━━╸                                     epoch 12/100  12%  for 4m 00s  ends at 12:10:00, in 10m 00s",
        "mAP50  ▁▅█  0.6  0.1 to 0.6",
        "TrainingRunning: digits-1 trains: epoch 12/100",
    ]


def test_a_running_job_fits_80_columns() -> None:
    assert shown(with_course("10 11", {"mAP50": "0.1 0.4"}), 80) == [
        "vision/digits  yolo26n.yaml, 100 epochs  on Tesla T4 of node-1, 14,910 MiB",
        "measured free, 10,240 MiB granted",
        "Preparing → Queued → Acquiring →  Training  → Releasing → Succeeded",
        "━━                   epoch 12/100  12%  for 4m 00s  ends at 12:10:00, in 10m 00s",
        "mAP50  ▁▅█  0.6  0.1 to 0.6",
        "TrainingRunning: digits-1 trains: epoch 12/100",
    ]


def test_curves_are_shorter_where_there_is_little_room() -> None:
    epochs, values = " ".join(map(str, range(1, 61))), " ".join(f"{n / 1234567:g}" for n in range(1, 61))
    course = with_course(epochs, {"mAP50_95_of_the_validation": values})
    lines = shown(course, 80)
    assert max(map(len, lines)) <= 80
    (curve,) = (line for line in lines if line.startswith("mAP50_95_of_the_validation"))
    assert len(curve.split()[1]) >= 8
    assert curve.endswith("4.86e-05") or " to " in curve
    (narrow,) = (line for line in shown(course, 50) if line.startswith("mAP50_95_of_the_validation"))
    assert " to " not in narrow, "the curve needs the room"


@pytest.mark.parametrize("width", [80, 60, 40])
def test_long_names_and_dates_fit(width: int) -> None:
    """Names of 63 characters, an end in some days, and a message that is one word."""
    long, word = "n" * 63, "x" * 200
    before = with_course("1 2", {"m" * 60: "0.123456789 0.2"}, {"box": "3 2.5"})
    progress, gpu = before.status.progress, before.status.gpu
    assert progress is not None
    assert gpu is not None
    far = progress.model_copy(update={"eta": timestamp(ago(days=-3)), "summary": "1200/10000"})
    gpu = gpu.model_copy(update={"node": long, "name": "NVIDIA RTX PRO 6000 Blackwell"})
    said = condition("Reconciling", "TrainingRunning", word)
    status = before.status.model_copy(update={"progress": far, "gpu": gpu, "attempt": 12, "conditions": [said]})
    lines = shown(replace(before, key=JobKey(long, long, "u"), status=status), width)
    assert max(map(len, lines)) <= width
    text = "".join(lines).replace(" ", "")
    assert f"{long}/{long}" in text
    assert word in text
    assert "epoch1200/10000" in text
    assert "endsat2026-01-0412:00:00,in3d0h" in text
    bars = [line for line in lines if set(line.strip()) <= {"━", "╸", "╺"} and line.strip()]
    assert len(bars) == 1, "the bar is whole, on a line of its own"


def test_a_waiting_job_on_a_screen() -> None:
    lines = shown(queued("digits", 2))
    assert "number 2 in the queue" in lines
    assert lines[1].startswith("Preparing →  Queued  → Acquiring")


@pytest.mark.parametrize(
    ("phase", "suspend", "code"),
    [
        ("Succeeded", False, Exit.OK),
        ("Failed", False, Exit.JOB_FAILED),
        ("Suspended", True, Exit.JOB_SUSPENDED),
        ("Suspended", False, None),
        ("Training", True, None),
        (None, False, None),
    ],
)
def test_when_following_ends(phase: str | None, suspend: bool, code: Exit | None) -> None:
    assert ending(job(phase=phase, spec={"suspend": suspend})) == code


def test_a_line_for_a_pipe() -> None:
    assert line(training()) == ("Training  epoch 12/100  mAP50 0.6  TrainingRunning: digits-1 trains: epoch 12/100")
    assert line(job()) == "not reconciled yet"


def validating(phase: str = "Training", **more: Any) -> Job:
    progress = Progress(epoch=0, epochs=0, summary="", stage="validating", metrics={"mAP50": 0.6})
    return job("check", spec={"mode": "Validate"}, phase=phase, progress=progress, **more)


def test_a_job_that_trains_nothing_has_no_epochs() -> None:
    running = validating(conditions=[condition("Reconciling", "TrainingRunning", "check-1 validates")])
    assert line(running) == "Training  validating  mAP50 0.6  TrainingRunning: check-1 validates"
    assert curves(running) == {}
    assert shown(running)[0] == "vision/check  yolo26n.yaml, mode Validate"
    done = shown(validating("Succeeded"))
    assert not any("epoch" in text for text in done)
    assert any("done  100%" in text for text in done)
    assert list(losses(validating("Succeeded"))) == [
        "vision/check has succeeded: the job record is deleted; its results stay on PVC results."
    ]
