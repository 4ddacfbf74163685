import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from yolo_trainer.inputs.dataset import Dataset
from yolo_trainer.inputs.training_arguments import TrainingRequest, default_workers
from yolo_trainer.job.spec import Job
from yolo_trainer.training.checkpoint_store import CheckpointStore
from yolo_trainer.training.progress import ProgressTracker
from yolo_trainer.training.signals import SIGNALS, Interrupted, Interruption
from yolo_trainer.training.trainer import TrainingRun

GIB = 2**30


def request_for(**args: Any) -> TrainingRequest:
    job = Job.model_validate(
        {
            "job": {"namespace": "vision", "name": "digits", "uid": "u1"},
            "model": "yolo26n.yaml",
            "dataset": {"path": "/data"},
            "training": {"epochs": 7, "imageSize": 96, "batch": 4, "patience": 9, "seed": 3, "args": args},
            "output": {"path": "/output/model"},
            "gpu": {"memoryMiB": 1024},
        }
    )
    return TrainingRequest(job, Path("/data/data.yaml"), "yolo26n.yaml", job.training.args, "cpu", 4)


def test_the_jobs_fields_become_ultralytics_arguments() -> None:
    arguments = request_for(lr0=0.5, workers=3).arguments()

    assert (
        arguments
        | {
            "model": "yolo26n.yaml",
            "data": "/data/data.yaml",
            "task": "detect",
            "epochs": 7,
            "imgsz": 96,
            "batch": 4,
            "patience": 9,
            "seed": 3,
            "device": "cpu",
            "save_dir": "/output/model/work",
            "lr0": 0.5,
            "workers": 3,
        }
        == arguments
    )


@pytest.mark.parametrize(
    ("device", "shared_memory", "cpus", "workers"),
    [("cpu", 8 * GIB, 8, 0), ("cuda:0", 64 * 2**20, 8, 0), ("cuda:0", 8 * GIB, 4, 4), ("cuda:0", 8 * GIB, 64, 8)],
)
def test_data_loading_processes_suit_the_pod(device: str, shared_memory: int, cpus: int, workers: int) -> None:
    assert default_workers(device, shared_memory, cpus) == workers


@pytest.fixture
def interruption() -> Iterator[Interruption]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    interruption = Interruption()
    interruption.install()
    yield interruption
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("event", ["on_train_batch_end", "on_val_batch_end"])
def test_a_signal_ends_training_and_validation_after_the_batch(
    interruption: Interruption, tmp_path: Path, event: str
) -> None:
    dataset = Dataset(tmp_path, tmp_path, {}, 1, None, {})
    store = CheckpointStore(tmp_path / "checkpoint", tmp_path, "u1")
    training = TrainingRun(request_for(), dataset, store, ProgressTracker(), interruption)
    batch_ended = training._callbacks()[event]
    trainer = SimpleNamespace(tloss={"box_loss": 1.0}, batch_size=8)

    with pytest.raises(Interrupted), interruption.deferred():
        batch_ended(trainer)
        os.kill(os.getpid(), signal.SIGTERM)
        batch_ended(trainer)
        pytest.fail("the next batch began")
