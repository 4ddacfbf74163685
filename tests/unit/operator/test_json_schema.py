"""The JSON schema that editors and kubeconform use: samples fit it, and mistakes do not."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from devcluster.paths import REPOSITORY
from gpu_relay.api.json_schema import json_schema

FILE = REPOSITORY / "crds" / "schemas" / "gpurelay.dev" / "yolotrainingjob_v1alpha1.json"
SAMPLES = [
    sample
    for sample in sorted((REPOSITORY / "manifests" / "samples").glob("*.yaml"))
    if "kind: YoloTrainingJob" in sample.read_text()
]


def errors(job: Any) -> list[str]:
    validator = jsonschema_rs.validator_for(json.loads(FILE.read_text()))
    return [f"{'.'.join(map(str, error.instance_path))}: {error.message}" for error in validator.iter_errors(job)]


def sample() -> Any:
    return yaml.safe_load((REPOSITORY / "manifests" / "samples" / "minimal.yaml").read_text())


def test_the_committed_schema_is_the_generated_one() -> None:
    assert json.loads(FILE.read_text()) == json_schema(), "run `make crds`"


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples_fit(path: Path) -> None:
    assert errors(yaml.safe_load(path.read_text())) == []


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"epochs": 3}, "spec: "),
        ({"training": {"epochs": "three"}}, "spec.training.epochs: "),
        ({"training": {"epochs": 0}}, "spec.training.epochs: "),
        ({"gpu": {"memory": "10Gi", "name": "T4"}}, "spec.gpu: "),
        ({"podTemplate": {"resources": {"limits": {"memory": ["1Gi"]}}}}, "spec.podTemplate.resources.limits.memory: "),
    ],
)
def test_mistakes_are_found(change: dict[str, Any], where: str) -> None:
    job = sample()
    job["spec"] |= change
    assert [error for error in errors(job) if error.startswith(where)]


def test_another_kind_and_a_missing_spec_are_mistakes() -> None:
    job = sample()
    assert errors(job | {"apiVersion": "gpurelay.dev/v1"})
    del job["spec"]
    assert errors(job)


def test_quantities_may_be_numbers_and_arguments_are_free() -> None:
    job = sample()
    job["spec"] |= {"podTemplate": {"resources": {"limits": {"cpu": 4, "memory": "16Gi"}}}}
    job["spec"]["training"] = {"args": {"lr0": 0.01, "plots": False}}
    assert errors(job) == []
