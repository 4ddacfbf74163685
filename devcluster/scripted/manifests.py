"""Manifests and statuses that tests and benchmarks write to the API server."""

from typing import Any

Object = dict[str, Any]


def job_manifest(name: str, *, memory: str = "10Gi", **spec: Any) -> Object:
    """Return a minimal job, with fields of the spec added or replaced."""
    return {
        "apiVersion": "gpurelay.dev/v1alpha1",
        "kind": "YoloTrainingJob",
        "metadata": {"name": name},
        "spec": {
            "model": "yolo26n.yaml",
            "dataset": {"persistentVolumeClaim": {"claimName": "data"}, "path": "digits"},
            "output": {"persistentVolumeClaim": {"claimName": "results"}, "path": name},
            "gpu": {"memory": memory},
            **spec,
        },
    }


def restricted_pod(container: str, image: str) -> Object:
    """Return the spec of a pod that Pod Security's level `restricted` lets pass."""
    security = {
        "runAsNonRoot": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    return {"containers": [{"name": container, "image": image, "securityContext": security}]}


def gpu_pod(container: str, gpus: int) -> Object:
    """Return the spec of such a pod that runs once, with so many GPUs."""
    spec = restricted_pod(container, "x") | {"restartPolicy": "Never"}
    spec["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": str(gpus)}} if gpus else {}
    return spec


def container(state: Object, name: str = "trainer") -> Object:
    """Return the status of a container in a state, of the trainer's unless another is named."""
    return {"name": name, "image": "x", "imageID": "x", "ready": False, "restartCount": 0, "state": state}
