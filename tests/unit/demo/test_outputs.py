"""The demo's folder: what is collected, and what is never deleted."""

from pathlib import Path

import pytest
import yaml

from demo import manifest, outputs
from demo.recipe import DEMO
from devcluster import ClusterError
from gpu_relay.api.v1alpha1 import YoloTrainingJobSpec


def test_a_new_folder_is_made_and_an_earlier_demos_is_emptied(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "demo-output"
    outputs.prepare(folder)
    (folder / "weights").mkdir()
    (folder / "weights" / "best.pt").touch()
    outputs.prepare(folder)
    assert [file.name for file in folder.iterdir()] == [outputs.TIMELINE]


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    outputs.prepare(tmp_path)
    assert (tmp_path / outputs.TIMELINE).is_file()


def test_what_no_demo_left_is_never_deleted(tmp_path: Path) -> None:
    precious = tmp_path / "thesis.tex"
    precious.touch()
    with pytest.raises(ClusterError, match="--output"):
        outputs.prepare(tmp_path)
    with pytest.raises(ClusterError, match="is not a folder"):
        outputs.prepare(precious)
    assert precious.exists()


def test_weights_metrics_and_plots_are_collected_without_checkpoints(tmp_path: Path) -> None:
    results, folder = tmp_path / "results", tmp_path / "out"
    for name in ("weights/best.pt", "results.csv", "results.png", "labels.jpg", "checkpoint/resume.pt"):
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text(name)
    outputs.prepare(folder)
    outputs.collect(results, folder)
    assert (folder / "weights" / "best.pt").read_text() == "weights/best.pt"
    assert outputs.contents(folder) == "results.csv, timeline.txt, weights/best.pt, 2 plots"


def test_the_demo_job_is_valid_and_requests_10_gib() -> None:
    job = yaml.safe_load(manifest.as_yaml(manifest.training_job(DEMO)))
    spec = YoloTrainingJobSpec.model_validate(job["spec"])
    assert (job["metadata"]["name"], job["metadata"]["namespace"]) == (manifest.NAME, manifest.NAMESPACE)
    assert spec.gpu.memory == "10Gi"
    assert manifest.MEMORY_MIB == 10 * 1024
    assert spec.training.epochs == DEMO.training["epochs"]
