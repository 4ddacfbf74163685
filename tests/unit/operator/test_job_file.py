"""The job file that the operator writes, read by the trainer that is to understand it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpu_relay.api.v1alpha1 import YoloTrainingJobSpec
from gpu_relay.domain.decision import CreatePod
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.queue.preparation_placement import Place
from gpu_relay.pods.pod_builder import TrainerDefaults, preparing_pod, training_pod
from tests.support.builders import job, lease, report, resident
from yolo_trainer.job.loader import load_job
from yolo_trainer.job.spec import Job as TrainerJob

LEASE, RESIDENT = lease(), resident(report())
CLAIM = {"persistentVolumeClaim": {"claimName": "data"}}
ARCHIVE = {"uri": "https://example.org/digits.zip", "sha256": "0" * 64}


def job_of(dataset: dict[str, Any], output: dict[str, Any], tracking: Any = None, **training: Any) -> Job:
    tracked = {} if tracking is None else {"tracking": tracking}
    return job(dataset=dataset, output=output, training=training, **tracked)


def built(dataset: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
    defaults = TrainerDefaults("gpu-relay/yolo", "", 60)
    return training_pod(job_of(dataset, output), LEASE, RESIDENT, CreatePod(2, 8), defaults)


def volumes(pod: dict[str, Any]) -> dict[str, str]:
    kinds = {each["name"]: next(key for key in each if key != "name") for each in pod["spec"]["volumes"]}
    mounts = {each["mountPath"]: each["name"] for each in pod["spec"]["containers"][0]["volumeMounts"]}
    return {path: kinds[name] for path, name in mounts.items() if path in {"/data", "/output"}}


@pytest.mark.parametrize(
    ("dataset", "output", "mounted"),
    [
        ({**CLAIM, "path": "digits"}, CLAIM, {"/data": "persistentVolumeClaim", "/output": "persistentVolumeClaim"}),
        (ARCHIVE, CLAIM, {"/output": "persistentVolumeClaim"}),
        ({**ARCHIVE, "path": "a/data.yaml"}, {"uri": "s3://models/digits"}, {"/output": "emptyDir"}),
        (CLAIM, {"uri": "gs://models"}, {"/data": "persistentVolumeClaim", "/output": "emptyDir"}),
        (CLAIM, {**CLAIM, "uri": "s3://m/x"}, {"/data": "persistentVolumeClaim", "/output": "persistentVolumeClaim"}),
    ],
)
def test_the_trainer_understands_what_the_operator_writes(
    dataset: dict[str, Any], output: dict[str, Any], mounted: dict[str, str], tmp_path: Path
) -> None:
    pod = built(dataset, output)
    file = tmp_path / "job.json"
    file.write_text(pod["metadata"]["annotations"]["gpurelay.dev/job"])
    job = load_job(file)
    assert (job.dataset.uri, job.dataset.sha256) == (dataset.get("uri"), dataset.get("sha256"))
    expected = dataset.get("path") if "uri" in dataset else f"/data/{dataset.get('path', '')}".rstrip("/")
    assert (None if job.dataset.path is None else str(job.dataset.path)) == expected
    assert (str(job.output.path), job.output.uri) == ("/output/digits", output.get("uri"))
    assert (job.attempt, job.training.batch, job.gpu.uuid, job.gpu.memory_mib) == (2, 8, "GPU-1", 10_240)
    assert job.hold is not None
    assert (job.hold.fence, job.hold.renew_key) == (7, "key")
    assert volumes(pod) == mounted


def test_a_preparing_pod_reads_the_same_job_and_has_no_gpu(tmp_path: Path) -> None:
    template = {"spec": {"containers": [{"name": "trainer", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}}
    defaults = TrainerDefaults("gpu-relay/yolo", "nvidia.com/gpu", 60, template=template)
    pod = preparing_pod(job_of(ARCHIVE, CLAIM, batch="auto"), 1, Place(("node-1",)), defaults)
    file = tmp_path / "job.json"
    file.write_text(pod["metadata"]["annotations"]["gpurelay.dev/job"])
    job = load_job(file)
    assert (job.hold, job.gpu.uuid, job.training.batch) == (None, None, "auto")
    training = built(ARCHIVE, CLAIM)
    assert pod["spec"]["volumes"] == training["spec"]["volumes"]
    assert pod["spec"]["containers"][0]["volumeMounts"] == training["spec"]["containers"][0]["volumeMounts"]
    assert pod["spec"]["containers"][0]["resources"] == {"limits": {}}
    assert set(pod["metadata"]["labels"]).isdisjoint({"gpurelay.dev/gpu", "gpurelay.dev/fence"})


def test_a_checkpoint_interval_is_written_where_it_is_given(tmp_path: Path) -> None:
    """A trainer of release 0.1.0 refuses fields that it does not know."""
    defaults, file = TrainerDefaults("gpu-relay/yolo", "", 60), tmp_path / "job.json"
    for training, interval in (({"checkpointInterval": 5}, 5), ({}, None)):
        pod = preparing_pod(job_of(CLAIM, CLAIM, **training), 1, Place(("node-1",)), defaults)
        file.write_text(pod["metadata"]["annotations"]["gpurelay.dev/job"])
        assert json.loads(file.read_text())["training"].get("checkpointInterval") == interval
        assert load_job(file).training.checkpoint_interval == (interval or 1)


def test_new_fields_are_written_only_where_they_are_set(tmp_path: Path) -> None:
    file = tmp_path / "job.json"

    def read(output: dict[str, Any], **fields: Any) -> tuple[dict[str, Any], TrainerJob]:
        job = job_of(CLAIM, output)
        spec = YoloTrainingJobSpec.model_validate({**job.spec.model_dump(by_alias=True, exclude_none=True), **fields})
        defaults = TrainerDefaults("gpu-relay/yolo", "", 60)
        pod = training_pod(replace(job, spec=spec), LEASE, RESIDENT, CreatePod(1, 16), defaults)
        file.write_text(pod["metadata"]["annotations"]["gpurelay.dev/job"])
        return json.loads(file.read_text()), load_job(file)

    content, job = read(CLAIM)
    assert content.keys().isdisjoint({"mode", "validation", "resumeFrom"})
    assert "keepCheckpoint" not in content["output"]
    assert (job.mode, job.validation, job.resume_from, job.output.keep_checkpoint) == ("Train", None, None, False)
    _, job = read({**CLAIM, "keepCheckpoint": True}, resumeFrom="runs/one", validation={"split": "test"})
    assert (job.resume_from, job.output.keep_checkpoint) == ("/output/runs/one", True)
    assert job.validation is not None
    assert job.validation.split == "test"
    assert read(CLAIM, resumeFrom="s3://runs/one")[1].resume_from == "s3://runs/one"
    assert read(CLAIM, mode="Validate", model="best.pt")[1].mode == "Validate"
    assert read({**CLAIM, "export": ["onnx"]}, mode="Export", model="best.pt")[1].epochs == 0


def test_tracking_is_written_and_its_secret_becomes_environment(tmp_path: Path) -> None:
    given = {
        "mlflow": {"uri": "http://mlflow:5000", "experiment": "digits"},
        "tensorBoard": True,
        "wandb": {"project": "digits", "offline": True},
        "secretName": "tracking",
    }
    template = {"spec": {"containers": [{"name": "trainer", "envFrom": [{"configMapRef": {"name": "site"}}]}]}}
    defaults, file = TrainerDefaults("gpu-relay/yolo", "", 60, template=template), tmp_path / "job.json"
    job = job_of(CLAIM, CLAIM, given)
    pods = [
        preparing_pod(job, 1, Place(("node-1",)), defaults),
        training_pod(job, LEASE, RESIDENT, CreatePod(2, 8), defaults),
    ]
    for pod in pods:
        file.write_text(pod["metadata"]["annotations"]["gpurelay.dev/job"])
        tracking = load_job(file).tracking
        assert tracking is not None
        assert tracking.model_dump(by_alias=True, exclude_none=True) == {
            name: value for name, value in given.items() if name != "secretName"
        }
        assert pod["spec"]["containers"][0]["envFrom"] == [
            {"configMapRef": {"name": "site"}},
            {"prefix": "GPU_RELAY_TRACKING_", "secretRef": {"name": "tracking"}},
        ]

    pod = built(CLAIM, CLAIM)
    assert "tracking" not in json.loads(pod["metadata"]["annotations"]["gpurelay.dev/job"]), "an older trainer reads it"
    assert "envFrom" not in pod["spec"]["containers"][0]
