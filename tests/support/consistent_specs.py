"""What CEL rules and the API server's own checks demand of several fields of a spec together."""

import copy
from typing import Any

Spec = dict[str, Any]


def consistent(spec: Spec) -> Spec:
    """Settle what CEL rules and the API server's own checks demand of fields together."""
    spec = copy.deepcopy(spec)
    _settle_label(spec)
    _settle_volumes(spec["dataset"], spec["output"])
    if spec.get("tracking", {}).get("wandb", {}).get("offline"):
        spec["output"].setdefault("persistentVolumeClaim", {"claimName": "results"})
    _settle_mode(spec)
    _settle_pod(spec.get("podTemplate", {}))
    return spec


def _settle_label(spec: Spec) -> None:
    """Leave out `dataset.label` where it means nothing, and give it what it needs."""
    dataset = spec["dataset"]
    if "label" not in dataset:
        return
    spec.pop("mode", None)
    spec["task"] = spec["task"] if spec.get("task") in {"segment", "obb"} else "detect"
    for name in ("uri", "sha256"):
        dataset.pop(name, None)
    spec["output"].setdefault("persistentVolumeClaim", {"claimName": "results"})
    if "approved" in dataset["label"]:
        dataset["label"]["review"] = "Required"
    split = dataset["label"].get("split", {})
    if split.get("val", 0.2) + split.get("test", 0.0) > 0.9:
        split |= {"val": 0.5, "test": 0.25}


def _settle_volumes(dataset: Spec, output: Spec) -> None:
    if "sha256" in dataset:
        dataset.setdefault("uri", "s3://data/digits.zip")
    if "uri" in dataset:
        dataset.pop("persistentVolumeClaim", None)
    else:
        dataset.setdefault("persistentVolumeClaim", {"claimName": "data"})
    if "uri" not in output:
        output.setdefault("persistentVolumeClaim", {"claimName": "results"})


def _settle_mode(spec: Spec) -> None:
    """Leave out what means nothing in a mode, and give what it needs."""
    mode, output = spec.get("mode", "Train"), spec["output"]
    if mode == "Train":
        if not spec.get("resumeFrom", "s3://").startswith("s3://"):
            output.setdefault("persistentVolumeClaim", {"claimName": "results"})
        return
    spec["model"] = "best.pt"
    for name in ("epochs", "patience", "seed", "timeLimit", "checkpointInterval"):
        spec.get("training", {}).pop(name, None)
    spec.pop("resumeFrom", None)
    output.pop("keepCheckpoint", None)
    if mode == "Validate":
        output.pop("export", None)
    else:
        spec.pop("validation", None)
        output["export"] = output.get("export") or ["onnx"]


def _settle_pod(template: Spec) -> None:
    for toleration in template.get("tolerations", []):
        toleration.setdefault("key", "gpu")
        if toleration.get("operator") == "Exists":
            toleration.pop("value", None)
        if "tolerationSeconds" in toleration:
            toleration["effect"] = "NoExecute"
    for variable in template.get("env", []):
        _one_source(variable)
    resources = template.get("resources", {})
    for name in resources.get("limits", {}):
        resources.get("requests", {}).pop(name, None)


def _one_source(variable: Spec) -> None:
    sources = variable.get("valueFrom")
    if sources is None:
        return
    if "value" in variable or not sources:
        del variable["valueFrom"]
    else:
        variable["valueFrom"] = dict([next(reversed(sources.items()))])
