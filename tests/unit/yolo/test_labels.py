import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_trainer.inputs.labels import LabelRules, first_problem

DETECT = LabelRules("detect", classes=3)
SEGMENT = LabelRules("segment", classes=3)
POSE = LabelRules("pose", classes=1, keypoints=(2, 3))
OBB = LabelRules("obb", classes=1)
BOX = "0 0.5 0.5 0.2 0.2"
TRIANGLE = "1 0.1 0.1 0.9 0.1 0.5 0.9"
CORNERS = "0 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9"


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("", DETECT),
        (f"{BOX}\n\n2 1.005 0.5 0.1 0.1\n", DETECT),
        (TRIANGLE, DETECT),
        (TRIANGLE, SEGMENT),
        ("0 0.5 0.5 0.2 0.2 0.4 0.4 2 0 0 0", POSE),
        (CORNERS, OBB),
        ("7 0.5 0.5 0.2 0.2", LabelRules("detect", classes=1, single_class=True)),
    ],
)
def test_what_ultralytics_reads_passes(text: str, rules: LabelRules) -> None:
    assert first_problem(text, rules) is None


@pytest.mark.parametrize(
    ("text", "rules", "problem"),
    [
        ("0 0.5 0.5 0.2", DETECT, "line 1: the task detect needs 5 columns"),
        (f"{BOX}\n0 0.5 0.5 0.2 0.2 0.9", DETECT, "line 2: the task detect needs 5 columns"),
        ("cat 0.5 0.5 0.2 0.2", DETECT, "line 1: 'cat 0.5 0.5 0.2 0.2' is not a row of numbers"),
        ("0 nan 0.5 0.2 0.2", DETECT, "line 1: a figure is not finite"),
        ("3 0.5 0.5 0.2 0.2", DETECT, "line 1: class 3 is not in names, which go from 0 to 2"),
        ("-1 0.5 0.5 0.2 0.2", DETECT, "line 1: class -1 is not a whole number"),
        ("1.5 0.5 0.5 0.2 0.2", DETECT, "line 1: class 1.5 is not a whole number"),
        ("0 320 240 64 64", DETECT, "line 1: coordinate 320 is outside the image"),
        ("0 0.5 0.5 -0.005 0.2", DETECT, "line 1: a box has a negative width or height"),
        (f"{BOX}\n{TRIANGLE}", DETECT, "boxes (5 columns) and polygons are mixed"),
        (BOX, SEGMENT, "line 1: the task segment needs a class and at least 3 points"),
        (BOX, OBB, "line 1: the task obb needs 9 columns"),
        (BOX, POSE, "line 1: the task pose needs 11 columns"),
        ("0 0.5 0.5 0.2 0.2 0.4 1.4 2 0 0 0", POSE, "line 1: coordinate 1.4 is outside"),
    ],
)
def test_what_it_drops_is_named(text: str, rules: LabelRules, problem: str) -> None:
    assert (first_problem(text, rules) or "").startswith(problem)


_share = st.floats(0, 1)


@given(st.lists(st.tuples(st.integers(0, 2), _share, _share, _share, _share)))
def test_boxes_within_the_image_are_valid(boxes: list[tuple[int, float, float, float, float]]) -> None:
    text = "\n".join(" ".join(map(str, box)) for box in boxes)

    assert first_problem(text, DETECT) is None


@given(st.tuples(_share, _share, _share, _share), st.integers(0, 3), st.floats(1.02, 1e6))
def test_a_coordinate_outside_is_always_found(box: tuple[float, ...], column: int, outside: float) -> None:
    values = list(box)
    values[column] = outside

    assert first_problem(f"0 {' '.join(map(str, values))}", DETECT) is not None


@given(st.text())
def test_any_text_gets_an_answer(text: str) -> None:
    for rules in (DETECT, SEGMENT, POSE, OBB):
        first_problem(text, rules)
