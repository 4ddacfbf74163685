"""Our check beside Ultralytics' own loader: hundreds of data sets, in which something varies.

Both refuse a data set, or both train on the same images and labels; where they differ, the difference is one that we
chose, with its reason in docs/trainer.md, and our sentence says what to change.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.yolo.plain_loader import REFUSED, Outcome, loaded
from tests.unit.yolo.variants import Variant
from tests.unit.yolo.variants_archives import VARIANTS as ARCHIVES
from tests.unit.yolo.variants_images import VARIANTS as IMAGES
from tests.unit.yolo.variants_labels import VARIANTS as LABELS
from tests.unit.yolo.variants_layout import VARIANTS as LAYOUTS
from tests.unit.yolo.variants_yaml import VARIANTS as DESCRIPTIONS
from yolo_trainer.errors import DatasetInvalidError
from yolo_trainer.job.spec import Job
from yolo_trainer.prepare import prepare
from yolo_trainer.storage.archive import is_archive
from yolo_trainer.training import offline

ROOT = Path(__file__).parents[3]
VARIANTS = [*LAYOUTS, *DESCRIPTIONS, *LABELS, *IMAGES, *ARCHIVES]
MODELS = {
    "detect": "yolo26n.yaml",
    "segment": "yolo26n-seg.yaml",
    "classify": "yolo26n-cls.yaml",
    "pose": "yolo26n-pose.yaml",
    "obb": "yolo26n-obb.yaml",
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What plain Ultralytics makes of each variant."""
    root = tmp_path_factory.mktemp("plain")
    asked = []
    for number, variant in enumerate(VARIANTS):
        folder = root / str(number)
        asked.append((variant.task, str(folder), str(variant.make(folder)), variant.single_class))
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(root)}
    loaded = subprocess.run(
        [sys.executable, "-m", "tests.unit.yolo.plain_loader", str(root / "outcomes")],
        input=json.dumps(asked), capture_output=True, text=True, check=False, cwd=ROOT, env=environment,
    )  # fmt: skip
    assert loaded.returncode == 0, loaded.stderr[-3000:]
    outcomes = json.loads((root / "outcomes").read_text())
    return {variant.name: found for variant, found in zip(VARIANTS, outcomes, strict=True)}


def ours(variant: Variant, folder: Path, tmp_path: Path) -> Outcome:
    """Prepare a job, and load what it would train on."""
    given = variant.make(folder)
    job = Job.model_validate(
        {
            "model": MODELS[variant.task],
            "task": variant.task,
            "dataset": {"uri": given.as_uri()} if is_archive(given.name) else {"path": str(given)},
            "training": {"epochs": 1, "imageSize": 32, "batch": 2, "args": {"single_cls": variant.single_class}},
            "output": {"path": str(tmp_path / "output")},
        }
    )
    before = state_of(folder)
    try:
        prepared = prepare(job, 1, offline.import_ultralytics)
    except DatasetInvalidError as error:
        return {REFUSED: str(error)}
    finally:
        assert state_of(folder) == before, "the user's data was written"
    return loaded(variant.task, str(prepared.dataset.written_to(tmp_path)), variant.single_class)


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(file): (file.lstat().st_mtime_ns, file.lstat().st_size) for file in sorted(folder.rglob("*"))}


def chosen_differences() -> Iterator[str]:
    """Return the first column of the table in docs/trainer.md."""
    page = (ROOT / "docs" / "trainer.md").read_text()
    _, found, rest = page.partition("| data | plain Ultralytics | here | why |\n")
    assert found, "docs/trainer.md has the table of chosen differences"
    for row in rest.split("\n\n")[0].splitlines()[1:]:
        yield row.split("|")[1].strip()


def test_there_are_hundreds_of_variants() -> None:
    assert len(VARIANTS) >= 200
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)


def test_every_chosen_difference_is_in_the_documentation() -> None:
    assert {variant.differs for variant in VARIANTS if variant.differs} == set(chosen_differences())


@pytest.mark.parametrize("variant", VARIANTS, ids=[variant.name for variant in VARIANTS])
def test_it_trains_on_what_ultralytics_trains_on(variant: Variant, plain: dict[str, Outcome], tmp_path: Path) -> None:
    theirs, mine = plain[variant.name], ours(variant, tmp_path / "data", tmp_path)
    same = theirs == mine or (REFUSED in theirs and REFUSED in mine)
    assert same == (variant.differs is None), f"\nUltralytics: {theirs}\nhere: {mine}"
    sentence = mine.get(REFUSED, "")
    assert variant.says in sentence, sentence
    assert not re.search(r"\x1b|/tmp/|\n", sentence.replace(str(tmp_path), "")), sentence
