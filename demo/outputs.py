"""The folder for the results of the demo."""

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
_PLOTS = (".png", ".jpg")


def prepare(folder: Path) -> None:
    """Make the folder, or empty it where an earlier demo made it.

    Raises ClusterError when it holds something else.
    """
    if folder.exists():
        if not folder.is_dir():
            raise ClusterError(f"{folder} is not a folder: choose another with --output")
        if any(folder.iterdir()) and not (folder / TIMELINE).is_file():
            raise ClusterError(f"{folder} has files that are not from a demo: choose another with --output")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / TIMELINE).touch()


def collect(results: Path, folder: Path) -> None:
    """Copy a training run's weights, metrics and plots.

    The checkpoint of an interrupted training run is left out: it is there to resume from.
    """
    for file in sorted(results.rglob("*")):
        place = file.relative_to(results)
        if file.is_file() and place.parts[0] != _CHECKPOINT:
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def contents(folder: Path) -> str:
    """Return one line: the names of the files, and the number of plots."""
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    named = [file for file in files if not file.endswith(_PLOTS)]
    plots = len(files) - len(named)
    return ", ".join([*named, count(plots, "plot")] if plots else named)
