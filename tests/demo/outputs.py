"""The folder in which the demo leaves what it made."""

import shutil
from pathlib import Path

from tests.cluster import ClusterError

TIMELINE = "timeline.txt"
DESCRIPTION = "describe.txt"
JOB = "job.yaml"
CONTROL = "control.json"
FAILURE = "failure.txt"
_CHECKPOINT = "checkpoint"


def prepare(folder: Path) -> None:
    """Make the folder, or empty it where an earlier demo made it.

    Raises ClusterError when it holds something else.
    """
    if folder.exists():
        if not folder.is_dir():
            raise ClusterError(f"{folder} is no folder: choose another with --output")
        if any(folder.iterdir()) and not (folder / TIMELINE).is_file():
            raise ClusterError(f"{folder} holds something that no demo left there: choose another with --output")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / TIMELINE).touch()


def collect(results: Path, folder: Path) -> list[Path]:
    """Copy a training's weights, metrics and plots; return the files, relative to `folder`.

    A checkpoint, which a training cut short leaves, stays behind: it is there to go on from.
    """
    copied = []
    for file in sorted(results.rglob("*")):
        place = file.relative_to(results)
        if file.is_file() and place.parts[0] != _CHECKPOINT:
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            copied.append(place)
    return copied
