"""The folder in which the demo leaves what it made."""

import shutil
from pathlib import Path

from demo.figures import count
from devcluster import ClusterError

TIMELINE = "timeline.txt"
DESCRIPTION = "describe.txt"
JOB = "job.yaml"
CONTROL = "control.json"
FAILURE = "failure.txt"
MEMORY = "memory.svg"
_CHECKPOINT = "checkpoint"
_PICTURES = (".png", ".jpg")


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


def collect(results: Path, folder: Path) -> None:
    """Copy a training's weights, metrics and plots.

    A checkpoint, which a training cut short leaves, stays behind: it is there to go on from.
    """
    for file in sorted(results.rglob("*")):
        place = file.relative_to(results)
        if file.is_file() and place.parts[0] != _CHECKPOINT:
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def contents(folder: Path) -> str:
    """Return in one line what is there: the files by name, pictures by their number."""
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    named = [file for file in files if not file.endswith(_PICTURES)]
    pictures = len(files) - len(named)
    return ", ".join([*named, count(pictures, "plot")] if pictures else named)
