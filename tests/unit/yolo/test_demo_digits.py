from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.digits import make_digits
from yolo_trainer.inputs.dataset import check_dataset


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_the_same_arguments_write_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_digits(tmp_path / name, train=4, val=2, image_size=64, seed=seed)

    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


def test_the_trainer_accepts_it(tmp_path: Path) -> None:
    file = make_digits(tmp_path, train=4, val=2, image_size=64)

    assert check_dataset(file, "detect").images == {"train": 4, "val": 2}


def test_a_smaller_set_replaces_a_larger_one(tmp_path: Path) -> None:
    make_digits(tmp_path, train=4, val=2, image_size=64)
    make_digits(tmp_path, train=2, val=1, image_size=64)

    assert check_dataset(tmp_path, "detect").images == {"train": 2, "val": 1}


def test_every_box_has_ink_at_its_edges_and_the_paper_has_none(tmp_path: Path) -> None:
    make_digits(tmp_path, train=6, val=1, image_size=128)
    for image in sorted((tmp_path / "images" / "train").iterdir()):
        pixels = np.asarray(Image.open(image).convert("L")).astype(int)
        paper = np.ones_like(pixels, dtype=bool)
        label = tmp_path / "labels" / "train" / f"{image.stem}.txt"
        for line in label.read_text().splitlines():
            x, y, width, height = (float(column) * 128 for column in line.split()[1:])
            left, top = round(x - width / 2), round(y - height / 2)
            inside = pixels[top : top + round(height), left : left + round(width)]
            paper[top : top + round(height), left : left + round(width)] = False
            assert inside.min() < 120
            assert inside[0].min() < 200
            assert inside[-1].min() < 200
        assert pixels[paper].min() > 160


@pytest.mark.parametrize("wrong", [{"train": 0}, {"val": 0}, {"image_size": 8}, {"classes": 11}])
def test_invalid_arguments_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        make_digits(tmp_path, **{"train": 1, "val": 1, "image_size": 64, **wrong})
