from types import SimpleNamespace

import pytest

from yolo_trainer.job.spec import Job
from yolo_trainer.outputs.manifest import Manifest, completion_message
from yolo_trainer.training.stop_conditions import Ending, TrainingTime, ending_of


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_time_counts_over_all_attempts() -> None:
    clock = Clock()
    time = TrainingTime(60, clock)
    clock.now += 500  # preparing

    time.begin(40.0)
    clock.now += 12

    assert time.spent == 52.0
    assert time.left == 8.0


def test_no_limit_is_never_up() -> None:
    clock = Clock()
    time = TrainingTime(None, clock)
    clock.now += 1e9

    assert time.left is None


@pytest.mark.parametrize(
    ("epoch", "stop", "left", "ending"),
    [
        (3, False, None, None),
        (3, False, 0.1, None),
        (3, False, 0.0, Ending.TIME_LIMIT),
        (3, True, 0.1, Ending.PATIENCE),
        (9, True, 0.0, Ending.EPOCHS),
    ],
)
def test_a_training_has_one_ending(epoch: int, stop: bool, left: float | None, ending: Ending | None) -> None:
    trainer = SimpleNamespace(epoch=epoch, epochs=10, stop=stop)

    assert ending_of(trainer, left) == ending


@pytest.mark.parametrize(
    ("ended", "end"),
    [
        (Ending.EPOCHS, "mAP50 0.500"),
        (Ending.PATIENCE, "; stopped early: no improvement in 5 epochs"),
        (Ending.TIME_LIMIT, "; the time limit of 60 s ended it there"),
    ],
)
def test_the_termination_message_says_what_ended_it(ended: Ending, end: str) -> None:
    job = Job.model_validate(
        {
            "model": "yolo26n.yaml",
            "dataset": {"path": "/data"},
            "training": {"epochs": 10, "patience": 5, "timeLimit": 60},
            "output": {"path": "/output"},
        }
    )
    manifest = Manifest(job={}, epochs=7, ended=ended, metrics={"mAP50": 0.5})

    message = completion_message(job, Manifest.model_validate_json(manifest.model_dump_json()), str).message

    assert message.startswith("7 of 10 epochs, mAP50 0.500")
    assert message.endswith(end)
