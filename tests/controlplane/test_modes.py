"""Jobs that validate or export without training, and jobs that continue a finished run: rules, columns, messages."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from devcluster import Cluster
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.manifests import job_manifest
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.trainer import ScriptedTrainer
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support.plugin import Plugin

CLAIM = {"claimName": "results"}
OUTPUT = {"persistentVolumeClaim": CLAIM, "path": "second"}
EXPORT: dict[str, Any] = {"mode": "Export", "model": "best.pt", "output": {**OUTPUT, "export": ["onnx"]}}
VALIDATE: dict[str, Any] = {"mode": "Validate", "model": "best.pt"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"mode": "Test"}, 'spec.mode: Unsupported value: "Test"'),
    ({"mode": "Validate"}, "this mode needs weights: name a .pt file in model"),
    ({**VALIDATE, "model": "https://host/yolo26n.yaml#sha256=0"}, "this mode needs weights"),
    ({**VALIDATE, "training": {"epochs": 50}}, "this mode trains nothing: leave out training.epochs, patience, seed"),
    ({**VALIDATE, "training": {"timeLimit": "1h"}}, "this mode trains nothing: leave out training.epochs"),
    ({**VALIDATE, "resumeFrom": "first"}, "this mode trains nothing: leave out resumeFrom and output.keepCheckpoint"),
    ({**EXPORT, "output": {**EXPORT["output"], "keepCheckpoint": True}}, "leave out resumeFrom and output.keep"),
    ({**EXPORT, "output": OUTPUT}, "mode Export needs output.export: name a format, such as onnx"),
    ({**EXPORT, "validation": {"split": "test"}}, "mode Export validates nothing: leave validation out"),
    ({**EXPORT, "mode": "Validate"}, "mode Validate makes no exports: leave output.export out, or use mode Export"),
    ({"validation": {"split": "all"}}, 'spec.validation.split: Unsupported value: "all"'),
    (
        {"resumeFrom": "/first"},
        "resumeFrom is the output of a finished job: a path inside output.persistentVolumeClaim",
    ),
    ({"resumeFrom": "a/../b"}, "without a leading '/' and '..', or an s3:// or gs:// folder"),
    ({"resumeFrom": "https://host/first"}, "or an s3:// or gs:// folder"),
    ({"resumeFrom": "first", "output": {"uri": "s3://results/x"}}, "set it, or give the URI of the output"),
    ({"resumeFrom": "second", "output": OUTPUT}, "only read: set output to another folder than resumeFrom"),
]


@pytest.fixture
def trainer() -> Iterator[ScriptedTrainer]:
    """A trainer of a job that trains nothing."""
    trainer = ScriptedTrainer(epochs=0)
    trainer.stage = "validating"
    yield trainer
    trainer.close()


@pytest.mark.parametrize(("spec", "sentence"), REFUSED, ids=[f"{n}" for n in range(len(REFUSED))])
def test_the_api_server_says_what_to_change(
    world: World, api: httpx.Client, spec: dict[str, Any], sentence: str
) -> None:
    path = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs?dryRun=All"
    answer = api.post(path, json=job_manifest("digits", **spec))
    assert answer.status_code == 422
    assert sentence in answer.json()["message"]


@pytest.mark.parametrize(
    "spec",
    [
        EXPORT,
        VALIDATE,
        {**VALIDATE, "validation": {"split": "test"}, "training": {"imageSize": 320, "batch": 4}},
        {"mode": "Train", "validation": {"split": "test"}},
        {"resumeFrom": "first", "output": {**OUTPUT, "keepCheckpoint": True}},
        {"resumeFrom": "s3://results/first", "output": {"uri": "s3://results/second"}},
    ],
)
def test_sensible_jobs_are_accepted(world: World, api: httpx.Client, spec: dict[str, Any]) -> None:
    path = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs?dryRun=All"
    answer = api.post(path, json=job_manifest("digits", **spec))
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("change", [{"mode": "Export"}, {"validation": {"split": "test"}}, {"resumeFrom": "first"}])
def test_what_a_job_does_cannot_be_changed(world: World, api: httpx.Client, change: dict[str, Any]) -> None:
    world.apply_job("digits")
    path = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs/digits"
    headers = {"Content-Type": "application/merge-patch+json"}
    answer = api.patch(path, content=json.dumps({"spec": change}), headers=headers)
    assert answer.status_code == 422
    assert f"{next(iter(change))} cannot be changed: create a new job instead" in answer.json()["message"]


def test_what_a_job_that_validates_says(
    world: World, resident: ScriptedResident, operator: OperatorProcess, trainer: ScriptedTrainer, cluster: Cluster,
    tmp_path: Path,
) -> None:  # fmt: skip
    relay = Plugin(tmp_path / "bin", cluster.kubeconfig)
    world.apply_job("check", **VALIDATE, validation={"split": "test"})
    world.shows_pod("check-1")
    contents = json.loads(world.training_pods()[0]["metadata"]["annotations"]["gpurelay.dev/job"])
    assert (contents["mode"], contents["validation"]) == ("Validate", {"split": "test"})
    world.run_pod("check-1", ip=trainer.ip)
    eventually(lambda: world.job("check")["status"].get("progress"), "progress")
    assert world.condition("check", "Reconciling")["message"] == "check-1 validates"
    assert f"{world.namespace}/check validates." in relay("explain", "check", "-n", world.namespace).out

    metrics = {"mAP50": 0.9, "mAP50_95": 0.6}
    further = {"split": "test", "metrics": metrics}
    world.end_pod("check-1", epoch=0, epochs=0, metrics=metrics, validation=further)
    world.reaches("check", "Succeeded")
    status = world.job("check")["status"]
    assert status["results"]["validation"] == further
    assert "epoch" not in status["attempts"][0]
    header, row = cluster.kubectl("get", "ytj", "check", "-n", world.namespace).splitlines()
    assert header.split()[:4] == ["NAME", "PHASE", "EPOCH", "MAP"]
    assert row.split()[:3] == ["check", "Succeeded", "0.6"], "no epochs"
    said = relay("explain", "check", "-n", world.namespace).out
    assert "epoch" not in said
    assert "Metrics of the weights: mAP50 0.9, mAP50_95 0.6." in said
    assert resident.loaded


def test_a_job_that_exports_takes_a_turn_like_any_other(
    world: World, resident: ScriptedResident, operator: OperatorProcess, trainer: ScriptedTrainer, cluster: Cluster
) -> None:
    world.apply_job("convert", **EXPORT)
    world.shows_pod("convert-1")
    assert not resident.loaded
    trainer.stage = "exporting"
    world.run_pod("convert-1", ip=trainer.ip)
    eventually(lambda: world.job("convert")["status"].get("progress"), "progress")
    assert world.condition("convert", "Reconciling")["message"] == "convert-1 exports"
    world.end_pod("convert-1", epoch=0, epochs=0, exports={"onnx": "/output/second/weights/best.onnx"})
    world.reaches("convert", "Succeeded")
    assert world.job("convert")["status"]["results"]["exports"] == {"onnx": "second/weights/best.onnx"}
    row = cluster.kubectl("get", "ytj", "convert", "-n", world.namespace).splitlines()[1]
    assert "0/" not in row
    eventually(world.no_reload_pending, "the Lease to be settled")
    assert resident.loaded


def test_a_further_split_is_shown_beside_the_best_weights(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("digits", validation={"split": "test"})
    world.shows_pod("digits-1")
    world.run_pod("digits-1")
    further = {"split": "test", "metrics": {"mAP50": 0.7}}
    world.end_pod("digits-1", epoch=10, epochs=10, metrics={"mAP50": 0.9}, validation=further)
    world.reaches("digits", "Succeeded")
    results = world.job("digits")["status"]["results"]
    assert (results["metrics"], results["validation"]) == ({"mAP50": 0.9}, further)
