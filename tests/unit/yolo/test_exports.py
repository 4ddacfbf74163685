import numpy as np
import pytest

from yolo_trainer.errors import ConfigInvalidError
from yolo_trainer.outputs import exports


def test_torchscript_can_always_be_made() -> None:
    exports.check_formats(["torchscript"])


@pytest.mark.parametrize(
    ("name", "problem"),
    [("torchscrpt", "did you mean 'torchscript'?"), ("coreml", "this trainer exports torchscript, onnx, engine")],
)
def test_another_format_is_refused_before_the_training(name: str, problem: str) -> None:
    with pytest.raises(ConfigInvalidError, match=f"output.export {name} is not supported") as caught:
        exports.check_formats([name])

    assert problem in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "find_spec", lambda _: None)

    with pytest.raises(ConfigInvalidError, match="needs the Python package onnx, onnxslim, onnxruntime, "):
        exports.check_formats(["onnx"])


def test_tensorrt_needs_a_cuda_device() -> None:
    exports.check_device(["onnx"], "cpu")
    exports.check_device(["engine"], "cuda:0")
    with pytest.raises(ConfigInvalidError, match="made on a CUDA GPU, and there is none: use onnx"):
        exports.check_device(["onnx", "engine"], "cpu")


def rows(*scores: float) -> np.ndarray:
    """Detections as an end-to-end model gives them: boxes, scores from high to low, classes."""
    boxes = [[10.0 * n, 10.0 * n, 10.0 * n + 5, 10.0 * n + 5, score, 1] for n, score in enumerate(scores)]
    return np.array([boxes], dtype=np.float32)


def test_alike_scores_may_change_places() -> None:
    expected = rows(0.9, 0.5, 0.5, 0.1)
    found = expected[:, [0, 2, 1, 3]]

    assert exports._gap(expected, found, sorted_rows=True) == 0
    assert exports._gap(expected, found, sorted_rows=False) > exports.TOLERANCE


def test_another_box_score_or_shape_is_a_difference() -> None:
    expected = rows(0.9, 0.5, 0.1)
    for column in (0, 4, 5):
        found = expected.copy()
        found[0, 1, column] += 0.5
        assert exports._gap(expected, found, sorted_rows=True) > exports.TOLERANCE
    assert exports._gap(expected, rows(0.9, 0.5), sorted_rows=True) == float("inf")


def test_scores_count_even_where_nothing_stands_out() -> None:
    expected, found = rows(0.001, 0.001), rows(0.9, 0.001)

    assert exports._gap(expected, found, sorted_rows=True) > exports.TOLERANCE
