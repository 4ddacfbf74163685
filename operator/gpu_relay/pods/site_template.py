"""The site's pod template (`GPU_RELAY_TRAINER_POD_TEMPLATE`), read and checked once at start.

The API server would refuse a mistake only when a job's pod is created. Field names and types come from the models of
the Kubernetes client, so the check needs no cluster.
"""

import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio.client import models
from kubernetes.utils.quantity import parse_quantity
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gpu_relay.api import words
from gpu_relay.domain.job.attempts import OUTPUT_MOUNT
from gpu_relay.pods.job_file import DATA_MOUNT, JOB_DIR

SETTING = "GPU_RELAY_TRAINER_POD_TEMPLATE"
_Location = tuple[str | int, ...]
_TRAINER = "trainer"
_LONGEST = 60
"""Characters of a wrong value that are shown in a message."""
_METADATA = frozenset({"labels", "annotations"})
_QUANTITIES = frozenset({"limits", "requests", "overhead", "sizeLimit", "divisor"})
_SPEC: Mapping[str, str] = {
    "restartPolicy": "it is always Never, and the job's backoffLimit decides on further attempts",
    "affinity": "it pins the pod to the GPU's node; nodeSelector restricts which nodes that may be",
    "nodeName": "the pod runs on the GPU's node; nodeSelector restricts which nodes that may be",
}
_CONTAINER: Mapping[str, str] = {
    "image": "set GPU_RELAY_TRAINER_IMAGE instead",
    "args": "they are the trainer's command, run or prepare",
    "ports": "the operator reads the trainer's progress from port 8080",
    "restartPolicy": "a trainer that has ended is never restarted in its pod",
    "restartPolicyRules": "a trainer that has ended is never restarted in its pod",
}
_LABELS = frozenset({"app.kubernetes.io/name", words.LABEL_MANAGED_BY})
_ENV = frozenset({"GPU_RELAY_JOB_FILE"})
_VOLUMES = frozenset({"job", "data", "output", "tmp", "shm"})
_MOUNTS = frozenset({JOB_DIR, DATA_MOUNT, OUTPUT_MOUNT, "/tmp", "/dev/shm"})
_CLAIMS = frozenset({"gpu"})


def read_template(path: Path | None) -> dict[str, Any]:
    """Return the partial PodTemplateSpec of a file, empty without one. Raises ValueError, which names all mistakes."""
    if path is None:
        return {}
    try:
        template = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{SETTING}: cannot read {path}: {error}") from error
    if not isinstance(template, dict) or not set(template) <= {"metadata", "spec"}:
        raise ValueError(f"{SETTING}: {path} is not a PodTemplateSpec: its fields are `metadata` and `spec`")
    found = list(_invalid_fields(template)) or list(_reserved(template))
    if found:
        raise ValueError(f"{SETTING}: {path}: {'; '.join(found)}")
    return template


def _invalid_fields(template: Mapping[str, Any]) -> Iterator[str]:
    """Yield what Kubernetes would refuse: unknown and missing fields, values of another type."""
    yield from _bad_values(template, ())
    try:
        models.V1PodTemplateSpec.model_validate_json(json.dumps(template, default=str), strict=True)
    except ValidationError as error:
        yield from filter(None, map(_sentence, error.errors()))


def _bad_values(value: Any, location: _Location) -> Iterator[str]:
    """Yield unknown fields, fields without a value (which the operator refuses), and wrong quantities."""
    if isinstance(value, dict | list):
        known = _fields(location) if isinstance(value, dict) else None
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if known is None or key in known:
                yield from _bad_values(inner, (*location, key))
            else:
                near = get_close_matches(str(key), known, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                yield f"{_path((*location, key))} is not a field of Kubernetes{hint}"
    elif value is None:
        yield f"{_path(location)} has no value: set it, or remove it"
    elif isinstance(value, str) and _is_quantity(location):
        try:
            parse_quantity(value)
        except ValueError:
            yield f"{_path(location)}: {value!r} is not a quantity; write for example 500m, 2 or 8Gi"


def _fields(location: _Location) -> list[str] | None:
    """Return the fields that an object may have at a location; None for a map, which may have any key."""
    kind = "V1PodTemplateSpec"
    for step in location:
        model = getattr(models, kind, None)
        if isinstance(step, str) and model is not None:
            attribute = next(name for name, field in model.attribute_map.items() if field == step)
            kind = re.sub(r"^List\[(.*)\]$", r"\1", model.openapi_types[attribute])
    return list(getattr(models, kind).attribute_map.values()) if hasattr(models, kind) else None


def _sentence(error: ErrorDetails) -> str | None:
    """Return an error of the client's models as a sentence; None if it is reported already, or is no mistake."""
    location, given, kind = error["loc"], error["input"], error["type"]
    if given is None or kind == "extra_forbidden" or (location == ("spec", "containers") and kind == "missing"):
        return None  # the operator adds the trainer's container
    if kind == "missing":
        return f"{_path(location)} is missing"
    if kind != "string_type":
        return f"{_path(location)}: {_shown(given)} cannot be used: {error['msg']}"
    if _is_quantity(location) and type(given) in {int, float}:
        return None
    return f"{_path(location)}: {_shown(given)} is not a string; put it into quotation marks"


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _is_quantity(location: _Location) -> bool:
    return not _QUANTITIES.isdisjoint(location[-2:])


def _path(location: _Location) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location).lstrip(".")


def _reserved(template: Mapping[str, Any]) -> Iterator[str]:
    """Yield the fields that the operator sets: the template's value would have no effect, or break every pod."""
    metadata, spec = template.get("metadata", {}), template.get("spec", {})
    yield from (f"metadata.{name} is set by the operator: remove it" for name in metadata if name not in _METADATA)
    for kind in sorted(_METADATA & set(metadata)):
        for key in metadata[kind]:
            if key.startswith(f"{words.GROUP}/") or key in _LABELS:
                yield f"metadata.{kind}[{key}] is set by the operator: remove it"
    yield from _reserved_fields(spec, _SPEC, "spec")
    yield from _reserved_names(spec, "volumes", "name", _VOLUMES, "spec")
    yield from _reserved_names(spec, "resourceClaims", "name", _CLAIMS, "spec")
    for number, container in enumerate(spec.get("containers", [])):
        if container["name"] == _TRAINER:
            where = f"spec.containers[{number}]"
            yield from _reserved_fields(container, _CONTAINER, where)
            yield from _reserved_names(container, "env", "name", _ENV, where)
            yield from _reserved_names(container, "volumeMounts", "mountPath", _MOUNTS, where)


def _reserved_fields(given: Mapping[str, Any], reserved: Mapping[str, str], path: str) -> Iterator[str]:
    for name in given:
        if name in reserved:
            yield f"{path}.{name} is set by the operator: remove it; {reserved[name]}"


def _reserved_names(
    given: Mapping[str, Any], name: str, key: str, reserved: frozenset[str], path: str
) -> Iterator[str]:
    for number, item in enumerate(given.get(name, [])):
        if item[key] in reserved:
            yield f"{path}.{name}[{number}].{key}: {item[key]} is reserved for the operator: use another one"
