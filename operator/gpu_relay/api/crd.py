"""The CustomResourceDefinition, generated from the types. `python -m gpu_relay.api.crd` prints it."""

from typing import Any

import yaml

from gpu_relay.api import words
from gpu_relay.api.v1alpha1 import YoloTrainingJob

_KEEP = (
    "type", "format", "description", "default", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum",
    "minItems", "maxItems", "maxProperties", "required",
)  # fmt: skip

_FIGURE = ".status.progress.metrics['mAP50_95','top1']"
_REASON = """.status.conditions[?(@.status=="True")].reason"""
"""The operator writes conditions in the order of `ConditionType`: the first True one has the reason of the phase."""
_COLUMNS: tuple[tuple[str, str, str, int, str], ...] = (
    ("Phase", "string", ".status.phase", 0, "State of the job"),
    ("Epoch", "string", ".status.progress.summary", 0, "Finished and total epochs"),
    ("mAP", "number", _FIGURE, 0, "mAP50-95 of the last validation; with task classify, top-1 accuracy"),
    ("Node", "string", ".status.gpu.node", 0, "Node of the GPU"),
    ("Attempt", "integer", ".status.attempt", 0, "Number of the attempt"),
    ("Age", "date", ".metadata.creationTimestamp", 0, "Time since the job was created"),
    ("Reason", "string", _REASON, 1, "Reason of the first condition that is True"),
    ("Queue", "integer", ".status.queuePosition", 1, "Position in the queue"),
    ("Starts", "string", ".status.estimatedStartTime", 1, "When the turn is expected to begin"),
    ("Free", "integer", ".status.gpu.freeAfter", 1, "Free MiB measured before the training pod was created"),
    ("Needed", "integer", ".status.gpu.needed", 1, "MiB that the job requests"),
    ("Pod", "string", ".status.pod", 1, "Training pod"),
    ("Weights", "string", ".status.results.weights.best", 1, "Best weights"),
)


def crd() -> dict[str, Any]:
    """Return the CustomResourceDefinition of YoloTrainingJob as plain data."""
    version = {
        "name": words.VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path, "priority": priority, "description": description}
            for name, kind, path, priority, description in _COLUMNS
        ],
        "schema": {"openAPIV3Schema": _schema()},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{words.PLURAL}.{words.GROUP}", "labels": {"app.kubernetes.io/part-of": "gpu-relay"}},
        "spec": {
            "group": words.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": words.KIND,
                "listKind": f"{words.KIND}List",
                "plural": words.PLURAL,
                "singular": words.KIND.lower(),
                "shortNames": ["ytj"],
                "categories": ["all"],
            },
            "versions": [version],
        },
    }


def _schema() -> dict[str, Any]:
    schema = YoloTrainingJob.model_json_schema(by_alias=True)
    structural = _structural(schema, schema["$defs"])
    structural["properties"] = {
        "apiVersion": {"type": "string", "description": f"Always {words.API_VERSION}."},
        "kind": {"type": "string", "description": f"Always {words.KIND}."},
        "metadata": {"type": "object"},
        **structural["properties"],
    }
    _drop_defaults(structural["properties"]["status"])
    structural["properties"]["status"]["default"] = {"observedGeneration": -1}  # an empty status would read as Current
    return structural


def _drop_defaults(node: dict[str, Any]) -> None:
    """Remove all defaults of the status: `kubectl describe` would show them as values."""
    node.pop("default", None)
    for child in (*node.get("properties", {}).values(), *filter(None, (node.get("items"),))):
        _drop_defaults(child)


def _structural(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Convert pydantic's JSON schema into a structural one: references resolved, optional fields not nullable."""
    node = _resolved(node, definitions)
    result = {key: node[key] for key in _KEEP if key in node}
    result.update({key: value for key, value in node.items() if key.startswith("x-kubernetes-")})
    if "x-kubernetes-int-or-string" in result:
        result.pop("type", None)
    if "x-kubernetes-validations" in result:
        result.pop("pattern", None)  # a rule of `api.value_rules` replaces it, with a message
    if "properties" in node:
        result["properties"] = {name: _structural(child, definitions) for name, child in node["properties"].items()}
    if "items" in node:
        result["items"] = _structural(node["items"], definitions)
    _free_form(node, result, definitions)
    _plain_default(result)
    return result


def _plain_default(result: dict[str, Any]) -> None:
    """Reduce the default: an object gets `{}` if one of its fields has a default; empty defaults are removed."""
    if "default" not in result:
        return
    if result["default"] in (None, []):
        del result["default"]
    elif result.get("type") != "object":
        return
    elif any("default" in child for child in result.get("properties", {}).values()):
        result["default"] = {}
    else:
        del result["default"]


def _free_form(node: dict[str, Any], result: dict[str, Any], definitions: dict[str, Any]) -> None:
    """Describe a map: by the schema of its values if they have a type, else by preserved unknown fields."""
    values = node.get("additionalProperties")
    if isinstance(values, dict) and values:
        result["additionalProperties"] = _structural(values, definitions)
    elif result.get("type") == "object" and "properties" not in result:
        result["x-kubernetes-preserve-unknown-fields"] = True


def _resolved(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    outer = {key: value for key, value in node.items() if key not in {"$ref", "anyOf", "allOf"}}
    if "$ref" in node:
        inner = definitions[node["$ref"].rsplit("/", 1)[-1]]
        return {**_resolved(inner, definitions), **outer}
    for choice in node.get("anyOf", ()):
        if choice.get("type") != "null":
            return {**_resolved(choice, definitions), **outer}
    return node


class _WithoutAliases(yaml.SafeDumper):
    """A dumper without YAML anchors, which are hard to read and which some tools do not support."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def main() -> None:
    """Print the CRD as YAML."""
    print("# Generated by `make crds` from operator/gpu_relay/api/v1alpha1: change the types, not this file.")
    print(yaml.dump(crd(), Dumper=_WithoutAliases, sort_keys=False, width=140, allow_unicode=True), end="")


if __name__ == "__main__":
    main()
