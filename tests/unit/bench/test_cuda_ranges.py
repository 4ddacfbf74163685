"""The figures of bench.cuda against their ranges."""

from pathlib import Path

import pytest

from bench.cuda.figures import Figure, read_lines
from bench.cuda.ranges import Range, beyond, read_ranges

LEFT = Range("left", "MiB", ("cuda",), max=64)
FITS = Range("fits", "1 = yes", ("cuda", "simulated"), min=1)


def test_a_figure_beyond_its_range_is_named_with_its_limit() -> None:
    figures = [Figure("left", 65, "MiB"), Figure("fits", 0, "1 = yes")]
    assert beyond([LEFT, FITS], figures, "cuda") == [
        "left: 65 MiB, at most 64 allowed",
        "fits: 0 1 = yes, at least 1 required",
    ]


def test_a_figure_at_its_limit_is_in_range() -> None:
    assert beyond([LEFT, FITS], [Figure("left", 64, "MiB"), Figure("fits", 1, "1 = yes")], "cuda") == []


def test_a_value_that_is_no_number_is_beyond_every_range() -> None:
    assert beyond([LEFT], [Figure("left", float("nan"), "MiB")], "cuda") == ["left: nan MiB, at most 64 allowed"]


def test_a_range_applies_to_its_kinds_of_devices_only() -> None:
    assert beyond([LEFT], [Figure("left", 65, "MiB")], "simulated") == []


def test_a_figure_in_another_unit_is_not_compared() -> None:
    problems = beyond([LEFT], [Figure("left", 0.01, "GiB")], "cuda")
    assert problems == ["left: measured in GiB, but the limit is in MiB"]


def test_a_range_without_limits_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("- {name: left, unit: MiB, devices: [cuda]}\n")
    with pytest.raises(ValueError, match=r"spec\.yaml: left: set min, max or both"):
        read_ranges(file)


def test_figures_survive_their_lines_and_a_cut_line_is_left_out() -> None:
    figure = Figure("left", 12.5, "MiB", "a note")
    assert read_lines(["progress\n", f"{figure.line}\n", figure.line[:20]]) == [figure]
