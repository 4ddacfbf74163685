from yolo_trainer.training import metrics


def test_figures_are_those_of_the_task() -> None:
    raw = {"metrics/mAP50(B)": 0.5, "metrics/mAP50-95(B)": 0.25, "metrics/mAP50(M)": 0.4, "metrics/mAP50-95(M)": 0.2}

    assert metrics.metrics_of("detect", raw) == {"mAP50": 0.5, "mAP50_95": 0.25}
    assert metrics.metrics_of("segment", raw) == {"mAP50": 0.4, "mAP50_95": 0.2}
    assert metrics.metrics_of("classify", {"metrics/accuracy_top1": 1}) == {"top1": 1.0}
    assert metrics.metrics_of("detect", None) == {}


def test_figures_read_as_people_write_them() -> None:
    assert metrics.sentence({"mAP50": 0.5, "mAP50_95": 0.25}) == "mAP50 0.500, mAP50-95 0.250"
    assert metrics.sentence({}) == "not validated"
