"""The demo's YoloTrainingJob, made from its recipe."""

from typing import Any

import yaml

from demo.recipe import Recipe

NAMESPACE = "vision"
NAME = "digits"
MEMORY = "10Gi"
MEMORY_MIB = 10 * 1024
DATASET = "digits"
"""Folder of the data set in the volume `data`."""

_HEADER = f"""\
# Applied by the demo. Volumes and namespace are those of manifests/overlays/local.
# kubectl apply -f job.yaml && kubectl -n {NAMESPACE} get ytj {NAME} --watch
"""


def training_job(recipe: Recipe) -> dict[str, Any]:
    """Return the job that trains a recipe and needs 10 GiB of the GPU."""
    return {
        "apiVersion": "gpurelay.dev/v1alpha1",
        "kind": "YoloTrainingJob",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "model": recipe.model,
            "dataset": {"persistentVolumeClaim": {"claimName": "data"}, "path": DATASET},
            "training": recipe.training,
            "output": {"persistentVolumeClaim": {"claimName": "results"}, "path": NAME},
            "gpu": {"memory": MEMORY},
        },
    }


def as_yaml(job: dict[str, Any]) -> str:
    """Write a job as the file that kubectl applies."""
    return _HEADER + yaml.safe_dump(job, sort_keys=False)
