"""The samples are valid, and the complete one is complete."""

import typing
from typing import Any

import yaml
from pydantic import BaseModel

from devcluster.paths import REPOSITORY
from gpu_relay.api.v1alpha1 import YoloTrainingJobSpec

LEFT_OUT = {"gpu.resourceClaimName", "dataset.uri", "dataset.sha256", "output.uri", "resumeFrom", "managedBy"}
"""Fields that exclude others: a ResourceClaim replaces the resource, a URI the volume, a controller this operator."""


def sample(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load((REPOSITORY / "manifests" / "samples" / name).read_text())["spec"]
    YoloTrainingJobSpec.model_validate(spec, extra="forbid")
    return spec


def fields(of: type[BaseModel], prefix: str = "") -> set[str]:
    found = set()
    for field in of.model_fields.values():
        name = f"{prefix}{field.alias}"
        model = inner(field.annotation)
        found |= fields(model, f"{name}.") if model else {name}
    return found


def inner(kind: Any) -> type[BaseModel] | None:
    """Return the model in a field's type, optional or not."""
    kinds = [kind, *typing.get_args(kind)]
    return next((each for each in kinds if isinstance(each, type) and issubclass(each, BaseModel)), None)


def named(spec: dict[str, Any], wanted: set[str]) -> set[str]:
    def has(path: str) -> bool:
        value: Any = spec
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value is not None

    return {path for path in wanted if has(path)}


def test_the_minimal_sample_is_valid() -> None:
    assert set(sample("minimal.yaml")) <= {"model", "dataset", "training", "output", "gpu"}


def test_the_complete_sample_names_every_field() -> None:
    every = {name for name in fields(YoloTrainingJobSpec) if not name.startswith("dataset.label.")}
    assert every - named(sample("complete.yaml"), every) == LEFT_OUT


def test_the_sample_with_words_is_valid() -> None:
    assert set(sample("words.yaml")["dataset"]["label"]) == {"prompts", "split", "minObjects"}
