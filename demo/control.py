"""The control: a pod that trains the same job as a finished training pod did, without an unload of SAM3 before it.

It is derived from the training pod as the cluster has it, so that image, volumes, environment and limits are the same.
What differs: no label makes it the relay's, its job file comes from a ConfigMap, and the trainer does not look at the
GPU's free memory before it takes what it wants.
"""

import copy
import json
from pathlib import PurePosixPath
from typing import Any

Object = dict[str, Any]

JOB_ANNOTATION = "gpurelay.dev/job"
_JOB_VOLUME = "job"
_CONTAINER = "trainer"
_ASSIGNED = ("nodeName", "priority", "preemptionPolicy", "schedulerName", "serviceAccount")
"""What the cluster, not the operator, wrote into the training pod's spec."""


def job_file(training_pod: Object, name: str) -> Object:
    """Return the training pod's job file without the hold, writing to the folder `name` beside the job's.

    Raises ValueError when the pod carries no job file.
    """
    try:
        job: Object = json.loads(training_pod["metadata"]["annotations"][JOB_ANNOTATION])
    except KeyError:
        raise ValueError(f"pod {training_pod['metadata']['name']} has no annotation {JOB_ANNOTATION}") from None
    job["output"]["path"] = str(PurePosixPath(job["output"]["path"]).with_name(name))
    job["hold"] = None
    return job


def control_objects(training_pod: Object, name: str) -> Object:
    """Return a List of the ConfigMap `name` with the job file and the pod `name` that runs it.

    Raises ValueError if the operator has not built the pod.
    """
    namespace = training_pod["metadata"]["namespace"]
    contents = json.dumps(job_file(training_pod, name), indent=2)
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": namespace},
                "data": {"job.json": contents},
            },
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/name": name}},
                "spec": _spec(training_pod["spec"], name),
            },
        ],
    }


def _spec(trained: Object, config_map: str) -> Object:
    spec = {key: value for key, value in copy.deepcopy(trained).items() if key not in _ASSIGNED}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    if _JOB_VOLUME not in volumes:
        raise ValueError(f"the training pod has no volume {_JOB_VOLUME!r}")
    volumes[_JOB_VOLUME] = {"name": _JOB_VOLUME, "configMap": {"name": config_map}}
    spec["volumes"] = list(volumes.values())
    trainer = next(container for container in spec["containers"] if container["name"] == _CONTAINER)
    trainer["args"] = [*trainer["args"], "--no-preflight"]
    return spec
