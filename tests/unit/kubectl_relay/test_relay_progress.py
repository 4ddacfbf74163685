"""What is shown of a job that is followed."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from gpu_relay.api.v1alpha1 import Progress
from gpu_relay.domain.model import Job
from kubectl_relay.exits import Exit
from kubectl_relay.show.watching import panel
from kubectl_relay.views.progress import Followed, ending, followed, line, sparkline
from tests.unit.kubectl_relay.relay_world import NOW, job, queued, training


def at(epoch: int, *, attempt: int = 1, **metrics: float) -> Job:
    progress = Progress(epoch=epoch, epochs=100, summary=f"{epoch}/100", metrics=metrics)
    before = training()
    return replace(before, status=before.status.model_copy(update={"progress": progress, "attempt": attempt}))


def shown(what: Followed) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=110, highlight=False, markup=False).print(panel(what, NOW))
    return [text.rstrip() for text in file.getvalue().splitlines()]


def test_a_curve_has_one_point_an_epoch() -> None:
    seen = followed(at(1, loss=3.0)).then(at(1, loss=2.5)).then(at(2, loss=2.0)).then(at(2, attempt=2, loss=1.0))
    assert seen.curve("loss") == [2.5, 2.0, 1.0]
    assert seen.metrics == ["loss"]


def test_a_curve_is_drawn_between_its_least_and_its_most() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 0, 7, 7], 2) == "▁█"
    assert sparkline([5, 5], 8) == "▄▄"
    assert sparkline([], 8) == ""


def test_a_running_job_on_a_screen() -> None:
    seen = followed(at(10, mAP50=0.1)).then(at(11, mAP50=0.4)).then(training())
    assert shown(seen) == [
        "vision/digits  yolo26n.yaml, 100 epochs  on Tesla T4 of node-1, 14,910 MiB measured free, 10,240 MiB granted",
        "Preparing → Queued → Acquiring →  Training  → Releasing → Succeeded",
        "━━━━╸                                     epoch 12/100  12%  for 4m 00s  ends at 12:10:00, in 10m 00s",
        "mAP50  ▁▅█  0.6  0.1 to 0.6",
        "TrainingRunning: digits-1 trains: epoch 12/100",
    ]


def test_a_waiting_job_on_a_screen() -> None:
    lines = shown(followed(queued("digits", 2)))
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
    assert line(job()) == "not looked at yet"
