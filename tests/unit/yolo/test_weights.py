from pathlib import Path

import pytest

from yolo_trainer.errors import ConfigInvalidError
from yolo_trainer.inputs.weights import find_model


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


@pytest.mark.parametrize("name", ["yolo26n", "model.onnx", ""])
def test_anything_else_is_no_model(folders: list[Path], name: str) -> None:
    with pytest.raises(ConfigInvalidError, match="name an architecture"):
        find_model(name, folders)
