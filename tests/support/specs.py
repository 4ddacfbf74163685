"""Specs generated from the CRD's own schema: a field that is added there is generated here from that moment on.

A path names a place in the schema: `podTemplate.env[].value`, `gpu.residentSelector.matchLabels{}`.
"""

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from devcluster.paths import REPOSITORY
from tests.support.consistent_specs import Spec, consistent

Schema = dict[str, Any]
Drawn = st.SearchStrategy[Any]

_CRD = REPOSITORY / "crds" / "yolotrainingjobs.gpurelay.dev.yaml"
VERSION: Schema = yaml.safe_load(_CRD.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
"""The schema of a whole job."""
SCHEMA: Schema = VERSION["properties"]["spec"]
IMMUTABLE = tuple(
    sorted(re.findall(r"(\w+) cannot be changed", " ".join(r["message"] for r in SCHEMA["x-kubernetes-validations"])))
)
"""Top-level fields that may not change; `dataset` may only in `label.approved`."""

_name = st.from_regex(r"[a-z]([-a-z0-9]{0,12}[a-z0-9])?", fullmatch=True)
_folder = st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,2}", fullmatch=True)
_words = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12)
_scalar = st.one_of(st.booleans(), st.integers(-1000, 1000), st.sampled_from([0.5, 1e-3]), _words)
_quantity = st.sampled_from(["1", "2", "500m", "1Gi", "512Mi", "1500M"])

KNOWN_GOOD: Mapping[str, Drawn] = MappingProxyType(
    {
        "dataset.path": _folder,
        "output.path": _folder,
        "dataset.uri": _name.map("s3://data/{}.zip".format),
        "output.uri": _name.map("s3://results/{}".format),
        "resumeFrom": st.one_of(_folder.map("runs/{}".format), _name.map("s3://runs/{}".format)),
        "training.batch": st.one_of(st.integers(1, 4096), st.just("auto")),
        "training.args{}": _scalar,
        "tracking.mlflow.uri": _name.map("http://{}:5000".format),
        "activeDeadlineSeconds": st.integers(3600, 10**6),
        "ttlSecondsAfterFinished": st.integers(3600, 10**6),
        "podTemplate.image": _name.map("registry.example/{}:1".format),
        "podTemplate.resources.requests{}": _quantity,
        "podTemplate.resources.limits{}": _quantity,
        "podTemplate.nodeSelector{}": _name,
        "gpu.residentSelector.matchLabels{}": _name,
        "podTemplate.tolerations[].key": _name,
        "podTemplate.tolerations[].value": _name,
        "podTemplate.env[].name": st.from_regex(r"[A-C]{1,3}", fullmatch=True),
        "podTemplate.env[].value": _words,
        "podTemplate.env[].valueFrom.secretKeyRef.key": _name,
        "podTemplate.env[].valueFrom.configMapKeyRef.key": _name,
        "podTemplate.env[].valueFrom.fieldRef.fieldPath": st.sampled_from(["metadata.name", "spec.nodeName"]),
        "podTemplate.env[].valueFrom.resourceFieldRef.resource": st.sampled_from(["limits.memory", "requests.memory"]),
        "podTemplate.env[].valueFrom.resourceFieldRef.divisor": st.sampled_from(["1", "1Mi"]),
    }
)
"""Values that the API server accepts, for places where the schema alone does not define them."""
_KEYS: Mapping[str, Drawn] = MappingProxyType(
    {
        "podTemplate.resources.requests": st.sampled_from(["cpu", "memory", "ephemeral-storage"]),
        "podTemplate.resources.limits": st.sampled_from(["cpu", "memory", "ephemeral-storage"]),
        "training.args": st.sampled_from(["lr0", "workers", "cache", "close_mosaic"]),
    }
)


def leaves(schema: Schema = SCHEMA, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield every place that holds a value, with its schema."""
    inner = [(f"{path}.{name}".lstrip("."), child) for name, child in schema.get("properties", {}).items()]
    if "items" in schema and "type" in schema:
        inner.append((f"{path}[]", schema["items"]))
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        inner.append((f"{path}{{}}", schema["additionalProperties"]))
    if not inner:
        yield path, schema
    for place, child in inner:
        yield from leaves(child, place)


def specs(*, must: str = "", known_good: bool = True) -> Drawn:
    """Draw specs; with `must` that place is filled, and no optional one beside it.

    Without `known_good` values are what the schema allows, which the API server may yet refuse.
    """
    draw = _Generator(must, KNOWN_GOOD if known_good else {}).of(SCHEMA, "")
    return draw.map(consistent)


def after(first: Spec, drawn: Spec) -> Spec:
    """Return a drawn spec with the immutable fields of another, and without what these forbid."""
    mutable = {name: value for name, value in drawn.items() if name not in IMMUTABLE}
    spec = copy.deepcopy({**mutable, **{name: first[name] for name in IMMUTABLE if name in first}})
    if "persistentVolumeClaim" not in spec["output"]:
        spec.get("tracking", {}).get("wandb", {}).pop("offline", None)
    return spec


class _Generator:
    """Turns a schema into a strategy."""

    def __init__(self, must: str, known: Mapping[str, Drawn]) -> None:
        self._must, self._known = must, known

    def of(self, schema: Schema, path: str) -> Drawn:
        if path in self._known:
            return self._known[path]
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        if "dns1123" in str(schema.get("x-kubernetes-validations", "")) and "properties" not in schema:
            return _name
        if schema.get("x-kubernetes-int-or-string"):
            return _quantity
        kinds: dict[str, Callable[[Schema, str], Drawn]] = {
            "object": self._object, "array": self._array, "string": self._string,
            "integer": self._integer, "number": self._number, "boolean": lambda *_: st.booleans(),
        }  # fmt: skip
        return kinds[schema["type"]](schema, path) if "type" in schema else _scalar

    def _object(self, schema: Schema, path: str) -> Drawn:
        if "properties" not in schema:
            keys = _KEYS.get(path, _name)
            least = 1 if self._leads_to(f"{path}{{}}") else 0
            values = self.of(schema["additionalProperties"], f"{path}{{}}")
            return st.dictionaries(keys, values, min_size=least, max_size=2)
        given, optional = {}, {}
        for name, child in schema["properties"].items():
            place = f"{path}.{name}".lstrip(".")
            if name in schema.get("required", ()) or self._leads_to(place):
                given[name] = self.of(child, place)
            elif not self._must:
                optional[name] = self.of(child, place)
        return st.fixed_dictionaries(given, optional=optional)

    def _array(self, schema: Schema, path: str) -> Drawn:
        keys = schema.get("x-kubernetes-list-map-keys")
        unique = (lambda item: tuple(item[key] for key in keys)) if keys else None
        least = max(schema.get("minItems", 0), 1 if self._leads_to(f"{path}[]") else 0)
        return st.lists(self.of(schema["items"], f"{path}[]"), min_size=least, max_size=2, unique_by=unique)

    def _string(self, schema: Schema, path: str) -> Drawn:
        pattern = _pattern(schema)
        if pattern:
            return st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True).filter(
                lambda text: text.isprintable() and len(text) <= schema.get("maxLength", 10**6)
            )
        least, most = schema.get("minLength", 0), min(20, schema.get("maxLength", 20))
        return st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=least, max_size=most)

    def _integer(self, schema: Schema, path: str) -> Drawn:
        return st.integers(schema.get("minimum", 0), min(schema.get("maximum", 2**31 - 1), 2**31 - 1))

    def _number(self, schema: Schema, path: str) -> Drawn:
        """Draw hundredths."""
        least, most = round(schema.get("minimum", 0) * 100), round(schema.get("maximum", 100) * 100)
        return st.integers(least, most).map(lambda hundredths: hundredths / 100)

    def _leads_to(self, place: str) -> bool:
        rest = self._must.removeprefix(place)
        return bool(self._must) and self._must.startswith(place) and (not rest or rest[0] in ".[{")


def _pattern(schema: Schema) -> str:
    """Return the regular expression of a text: the schema's own, or that of its CEL rule."""
    rules = [rule["rule"] for rule in schema.get("x-kubernetes-validations", ())]
    by_rule = next(filter(None, (re.match(r"self\.matches\('(.*?)'\)", rule) for rule in rules)), None)
    return str(schema.get("pattern", by_rule[1] if by_rule else ""))


def find(spec: Spec, path: str) -> Any:
    """Return the (first) value at a place; KeyError or IndexError where there is none."""
    value: Any = spec
    for step in _steps(path):
        value = value[_key(value, step)]
    return value


def replaced(spec: Spec, path: str, value: Any) -> Spec:
    """Return a copy with another value at a place."""
    new = copy.deepcopy(spec)
    *way, last = _steps(path)
    target: Any = new
    for step in way:
        target = target[_key(target, step)]
    target[_key(target, last)] = value
    return new


def _steps(path: str) -> list[str]:
    return re.findall(r"\w+|\[\]|\{\}", path)


def _key(value: Any, step: str) -> Any:
    if step == "[]":
        return 0
    return next(iter(value)) if step == "{}" else step


@st.composite
def invalid(draw: st.DrawFn, spec: Spec) -> Spec:
    """Draw a spec that the schema or its immutable fields forbid, made from a good one by one change."""
    kind = draw(st.sampled_from(["immutable", "type", "unknown word", "below minimum", "missing"]))
    match kind:
        case "immutable":
            return replaced(spec, "model", spec["model"] + "-other")
        case "type":
            return {**spec, draw(st.sampled_from(["priority", "suspend", "backoffLimit", "podTemplate"])): ["no"]}
        case "unknown word":
            return {**spec, "podTemplate": {**spec.get("podTemplate", {}), "imagePullPolicy": draw(_name)}}
        case "below minimum":
            return {**spec, "backoffLimit": draw(st.integers(-1000, -1))}
        case _:
            missing = draw(st.sampled_from(SCHEMA["required"]))
            return {name: value for name, value in spec.items() if name != missing}


def draw(strategy: Drawn, with_seed: int, count: int = 1) -> list[Any]:
    """Draw examples of a seed."""
    drawn: list[Any] = []

    @seed(with_seed)
    @settings(
        max_examples=count + 1, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def keep(example: Any) -> None:
        drawn.append(example)

    keep()
    return drawn[1:]  # the first one is always the simplest there is
