"""What is recorded of a training, when it is tried again, and what is missing at the end."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from yolo_trainer.errors import Reason
from yolo_trainer.tracking.protocol import Answer, RunProgress, RunStatus
from yolo_trainer.tracking.recorder import Inbox, follow
from yolo_trainer.tracking.recorder_process import service_variables
from yolo_trainer.tracking.results_csv import read_figures
from yolo_trainer.tracking.session import _is_uploaded, _status
from yolo_trainer.tracking.tensorboard import EventFiles, recorded_epochs

RESULTS = "epoch,time,train/box_loss,metrics/mAP50(B)\n1,2.5,3.1,0.1\n2,5.0,2.9,nan\n3,7.5,2.5,0.3\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results.csv").write_text(RESULTS)
    return tmp_path


def test_only_epochs_that_are_in_a_checkpoint_are_recorded(folder: Path) -> None:
    assert [row.epoch for row in read_figures(folder, 2)] == [1, 2]
    assert dict(read_figures(folder, 1)[0].values) == {"train/box_loss": 3.1, "metrics/mAP50(B)": 0.1}


def test_a_line_that_a_kill_has_cut_off_is_not_recorded(folder: Path) -> None:
    (folder / "results.csv").write_text(f"{RESULTS}4,10.0,2.")
    assert [row.epoch for row in read_figures(folder, 9)] == [1, 2, 3]
    assert read_figures(folder / "elsewhere", 9) == []


def test_event_files_have_each_epoch_once_whatever_a_kill_leaves(folder: Path) -> None:
    EventFiles(folder).record(1)
    (file,) = (folder / "tensorboard").iterdir()
    file.write_bytes(file.read_bytes() + b"\x01\x02")  # the beginning of another record
    events = EventFiles(folder)
    events.record(2)
    events.record(3)

    assert events.problem is None
    assert len(list((folder / "tensorboard").iterdir())) == 2, "one file for each attempt"
    assert recorded_epochs(folder / "tensorboard") == {1, 2, 3}
    before = {each: each.read_bytes() for each in (folder / "tensorboard").iterdir()}
    EventFiles(folder).record(3)
    assert {each: each.read_bytes() for each in (folder / "tensorboard").iterdir()} == before


def test_unwritable_event_files_are_a_problem_and_no_error(folder: Path) -> None:
    (folder / "tensorboard").write_text("not a folder")
    events = EventFiles(folder)
    events.record(1)

    assert events.problem is not None
    assert str(folder / "tensorboard") in events.problem
    (folder / "tensorboard").unlink()
    events.record(2)
    assert events.problem is None
    assert recorded_epochs(folder / "tensorboard") == {1, 2}


def test_weights_and_what_lies_at_the_top_of_the_results_is_uploaded() -> None:
    names = ["weights/best.pt", "results.csv", "results.png", "args.yaml"]
    others = ["weights/best.onnx", "tensorboard/events.out.tfevents.1", "dataset/labels.yaml", "manifest.json"]
    assert [name for name in names + others if _is_uploaded(name)] == names


def test_a_run_ends_as_its_attempt_does() -> None:
    assert _status(Reason.COMPLETED) == RunStatus.FINISHED
    assert _status(Reason.INTERRUPTED) == RunStatus.KILLED
    assert {_status(each) for each in Reason if each not in {Reason.COMPLETED, Reason.INTERRUPTED}} == {
        RunStatus.FAILED
    }


def test_the_secrets_variables_have_their_names_only_for_recorders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_RELAY_TRACKING_MLFLOW_TRACKING_TOKEN", "key")
    found = service_variables()

    assert found["MLFLOW_TRACKING_TOKEN"] == "key"
    assert not [name for name in found if name.startswith("GPU_RELAY_TRACKING_")]
    assert "MLFLOW_TRACKING_TOKEN" not in os.environ


class Service:
    """A tracking service that is down for a while."""

    name = "service"

    def __init__(self, down: int = 0, upload_error: str = "", hangs: bool = False) -> None:
        self.down = down
        self.upload_error = upload_error
        self.hangs = hangs
        self.epochs = 0
        self.uploaded: list[str] = []
        self.status: RunStatus | None = None

    @property
    def place(self) -> str | None:
        return "http://service/run" if self.epochs else None

    def record(self, progress: RunProgress) -> None:
        if self.down > 0:
            self.down -= 1
            raise ConnectionError("refused")
        self.epochs = progress.epochs

    def upload(self, progress: RunProgress, name: str) -> None:
        if self.hangs:
            threading.Event().wait()
        if self.upload_error:
            raise OSError(self.upload_error)
        self.uploaded.append(name)

    def end(self, status: RunStatus) -> None:
        self.status = status

    def check(self) -> Answer:
        return Answer()

    def explain(self, error: Exception) -> str:
        return str(error)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., list[Answer]]:
    """Follow a trainer that reports these and waits for the end, and return the answers."""

    def followed(service: Service, *reports: RunProgress) -> list[Answer]:
        receiver, sender = os.pipe()
        answers: list[Answer] = []
        with os.fdopen(sender, "w") as trainer:
            for report in reports:
                trainer.write(f"{report.model_dump_json()}\n")
            trainer.flush()
            follow(service, Inbox(os.fdopen(receiver)), answers.append)
            os.dup(trainer.fileno())  # the inbox ends the process with the trainer
        return answers

    return followed


def ended(status: RunStatus, figures: float = 5.0, files: float = 5.0) -> RunProgress:
    return RunProgress(
        folder=Path("/output"), epochs=3, files=("a", "b"), ended=status, figures_seconds=figures, files_seconds=files
    )


def test_what_a_service_missed_is_recorded_at_the_end(run: Callable[..., list[Answer]]) -> None:
    service = Service(down=2)
    answers = run(service, ended(RunStatus.FINISHED))

    assert answers == [Answer(run="http://service/run")]
    assert (service.epochs, service.uploaded, service.status) == (3, ["a", "b"], RunStatus.FINISHED)


def test_a_service_that_stays_down_is_given_up_in_time(run: Callable[..., list[Answer]]) -> None:
    service = Service(down=10**6)
    answers = run(service, ended(RunStatus.KILLED, figures=0.0))

    assert answers == [Answer(problem="refused")]
    assert service.status is None


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (Service(upload_error="no room"), "2 files were not uploaded (no room)"),
        (Service(hangs=True), "2 files were not uploaded (not within 0 s)"),
    ],
)
def test_missing_uploads_delay_neither_end_nor_status(
    run: Callable[..., list[Answer]], service: Service, said: str
) -> None:
    answers = run(service, ended(RunStatus.FINISHED, files=0.3))

    assert answers[-1].problem == said
    assert (service.epochs, service.status) == (3, RunStatus.FINISHED)
