"""The JSON schema of YoloTrainingJob, for editors and kubeconform. `python -m gpu_relay.api.json_schema` prints it."""

import json
from typing import Any

from gpu_relay.api import words
from gpu_relay.api.crd import crd

_KUBERNETES = "x-kubernetes-"


def json_schema() -> dict[str, Any]:
    """Return the schema of a manifest: that of the CRD, in which unknown fields are errors, as for the API server."""
    structural = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema = _strict(structural)
    schema["properties"] |= {
        "apiVersion": {"const": words.API_VERSION},
        "kind": {"const": words.KIND},
        "metadata": {"type": "object"},
    }
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": words.KIND, **schema}


def _strict(node: dict[str, Any]) -> dict[str, Any]:
    """Return a node without Kubernetes' extensions, whose rules only the API server checks."""
    schema = {key: value for key, value in node.items() if not key.startswith(_KUBERNETES)}
    if f"{_KUBERNETES}int-or-string" in node:
        schema["type"] = ["integer", "string"]
    if "properties" in node:
        schema["properties"] = {name: _strict(child) for name, child in node["properties"].items()}
        schema["additionalProperties"] = bool(node.get(f"{_KUBERNETES}preserve-unknown-fields", False))
    if "items" in node:
        schema["items"] = _strict(node["items"])
    if isinstance(node.get("additionalProperties"), dict):
        schema["additionalProperties"] = _strict(node["additionalProperties"])
    return schema


def main() -> None:
    """Print the schema."""
    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
