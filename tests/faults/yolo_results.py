"""The results of a run, to be compared with those of another."""

import csv
from pathlib import Path
from typing import Any


def figures(folder: Path) -> list[dict[str, str]]:
    """Return results.csv without the times."""
    with (folder / "results.csv").open(newline="") as file:
        return [{name: cell for name, cell in row.items() if name != "time"} for row in csv.DictReader(file)]


def weights(file: Path) -> dict[str, Any]:
    import torch

    content: dict[str, Any] = torch.load(file, weights_only=False, map_location="cpu")["model"].state_dict()
    return content


def assert_same_weights(one: Path, other: Path) -> None:
    """Compare best and last weights, bit for bit."""
    for name in ("best.pt", "last.pt"):
        expected, found = weights(one / "weights" / name), weights(other / "weights" / name)
        assert expected.keys() == found.keys()
        assert all(tensor.equal(found[key]) for key, tensor in expected.items()), f"{name} differs"


def assert_same_run(one: Path, other: Path) -> None:
    """Compare the figures of each epoch and the weights."""
    assert figures(other) == figures(one)
    assert_same_weights(one, other)


def columns(folder: Path) -> dict[str, list[float]]:
    """Return the columns of results.csv that are figures."""
    with (folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0] if name not in ("epoch", "time")}
