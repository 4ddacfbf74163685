from pathlib import Path

import pytest

from yolo_trainer.model import check_model, find_model
from yolo_trainer.outcome import ConfigInvalidError


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    made = [tmp_path / "data", tmp_path / "output"]
    for folder in made:
        folder.mkdir()
    return made


def test_an_architecture_may_be_ultralytics_own(folders: list[Path]) -> None:
    assert find_model("yolo26n.yaml", folders) == "yolo26n.yaml"


def test_the_data_sets_folder_goes_before_the_output(folders: list[Path]) -> None:
    (folders[1] / "w.pt").touch()
    assert find_model("w.pt", folders) == str(folders[1] / "w.pt")

    (folders[0] / "w.pt").touch()
    assert find_model("w.pt", folders) == str(folders[0] / "w.pt")


def test_an_absolute_path_is_taken_as_it_is(folders: list[Path], tmp_path: Path) -> None:
    (tmp_path / "w.pt").touch()

    assert find_model(str(tmp_path / "w.pt"), folders) == str(tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["yolo26n.pt", "/nowhere/yolo26n.pt"])
def test_missing_weights_are_never_downloaded(folders: list[Path], name: str) -> None:
    with pytest.raises(ConfigInvalidError, match=r"was not found.*beside the data set.*yolo26n\.yaml"):
        find_model(name, folders)


def test_for_ultralytics_own_weights_the_address_to_give_is_said(folders: list[Path]) -> None:
    with pytest.raises(ConfigInvalidError, match=r"\(https://github\.com/ultralytics/assets/.*/yolo26n\.pt\)"):
        find_model("yolo26n.pt", folders)


@pytest.mark.parametrize("name", ["yolo26n", "model.onnx", ""])
def test_anything_else_is_no_model(folders: list[Path], name: str) -> None:
    with pytest.raises(ConfigInvalidError, match="name an architecture"):
        find_model(name, folders)


def test_a_model_that_fits_the_task_passes() -> None:
    check_model("yolo26n.yaml", "detect")
    check_model("yolo26n-seg.yaml", "segment")


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ("yolo99n.yaml", "model yolo99n.yaml cannot be used"),
        ("yolo26n-seg.yaml", "is for the task segment, and the job's task is detect"),
    ],
)
def test_one_that_does_not_is_refused(model: str, problem: str) -> None:
    with pytest.raises(ConfigInvalidError, match=problem):
        check_model(model, "detect")


def test_weights_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"half of a fi")

    with pytest.raises(ConfigInvalidError, match=r"w\.pt cannot be used"):
        check_model(str(tmp_path / "w.pt"), "detect")
