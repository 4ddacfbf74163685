from pathlib import Path

import pytest

from yolo_trainer import results
from yolo_trainer.outcome import ConfigInvalidError


def test_figures_are_those_of_the_task() -> None:
    raw = {"metrics/mAP50(B)": 0.5, "metrics/mAP50-95(B)": 0.25, "metrics/mAP50(M)": 0.4, "metrics/mAP50-95(M)": 0.2}

    assert results.metrics_of("detect", raw) == {"mAP50": 0.5, "mAP50_95": 0.25}
    assert results.metrics_of("segment", raw) == {"mAP50": 0.4, "mAP50_95": 0.2}
    assert results.metrics_of("classify", {"metrics/accuracy_top1": 1}) == {"top1": 1.0}
    assert results.metrics_of("detect", None) == {}


def test_figures_read_as_people_write_them() -> None:
    assert results.sentence({"mAP50": 0.5, "mAP50_95": 0.25}) == "mAP50 0.500, mAP50-95 0.250"
    assert results.sentence({}) == "not validated"


def test_only_weights_that_are_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "last.pt").touch()

    assert results.weights_of(tmp_path) == {"last": str(tmp_path / "weights" / "last.pt")}


def test_torchscript_can_always_be_made() -> None:
    results.check_exports(["torchscript"])


@pytest.mark.parametrize(
    ("name", "problem"),
    [("torchscrpt", "did you mean 'torchscript'?"), ("engine", "this trainer exports torchscript, onnx")],
)
def test_another_format_is_refused_before_the_training(name: str, problem: str) -> None:
    with pytest.raises(ConfigInvalidError, match=f"output.export {name} is not supported") as caught:
        results.check_exports([name])

    assert problem in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "find_spec", lambda _: None)

    with pytest.raises(ConfigInvalidError, match="needs the Python package onnx, which this image lacks"):
        results.check_exports(["onnx"])
