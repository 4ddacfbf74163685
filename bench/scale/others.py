"""The same jobs as `batch/v1` Jobs: without the relay, alone or in Kueue, or in Kueue with its admission check.

Without the relay, their pods unload SAM3 from an init container. The init container's work, to unload the resident and
to measure as often as the relay does, is a delay (stages.py); that its image and its process must start before it is
left out, in its favour.
"""

import time
from enum import StrEnum
from typing import Any

from bench.scale.relay import idle_gaps
from bench.scale.stage import NAMESPACE, Stage
from bench.scale.watching import PodWatch
from devcluster.waiting import eventually

_JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
_KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
_LABEL = "batch.kubernetes.io/job-name"
_POLL = 0.25
_QUOTAS = 2
"""GPUs of quota for each GPU, with the operator's check."""


class Way(StrEnum):
    """How the Jobs run."""

    PLAIN = "plain"
    KUEUE = "kueue"
    CHECK = "check"
    """In Kueue, with the operator's admission check, and without an init container."""


def run(stage: Stage, jobs: int, window: float, way: Way) -> dict[str, Any]:
    """Queue the jobs at once, run them for the length of the window, and return the figures."""
    if way is not Way.PLAIN:
        _create_queue(stage, way)
    with PodWatch(stage.cluster.run_dir, NAMESPACE, _LABEL) as watch:
        began = time.time()
        stage.create(_JOBS, [_manifest(f"{way}-{number}", way) for number in range(jobs)])
        queued = time.time()
        while watch.done < jobs and time.time() - began < window:
            time.sleep(_POLL)
        seconds, done, lives = time.time() - began, watch.done, list(watch.lives.values())
    _delete_all(stage)
    return {
        "jobs": jobs,
        "gpus": stage.gpus,
        "done": done,
        "seconds": round(seconds, 1),
        "seconds to queue them": round(queued - began, 1),
        "jobs per second": round(done / seconds, 3),
        "idle between turns": sorted(idle_gaps(lives)),
    }


def _delete_all(stage: Stage) -> None:
    stage.api.request("DELETE", _JOBS, json={"propagationPolicy": "Background"}).raise_for_status()
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    stage.api.request(
        "DELETE", pods, params={"labelSelector": _LABEL}, json={"gracePeriodSeconds": 0}
    ).raise_for_status()
    query = {"labelSelector": _LABEL, "limit": "1"}
    eventually(lambda: not stage.api.get(pods, params=query).json()["items"], "the Jobs' pods to go", within=300)


def create_check(stage: Stage) -> None:
    """Create the operator's AdmissionCheck: an operator that starts later watches Workloads."""
    _post(stage, f"{_KUEUE}/admissionchecks", "AdmissionCheck", Way.CHECK, {"controllerName": "gpurelay.dev/turn"})


def _create_queue(stage: Stage, way: Way) -> None:
    """Create a ClusterQueue with all GPUs, and a LocalQueue.

    With the check, the quota is that of docs/any-training.md: as many Workloads again wait for the check.
    """
    quota = stage.gpus * _QUOTAS if way is Way.CHECK else stage.gpus
    resources = [{"name": "nvidia.com/gpu", "nominalQuota": quota}]
    group = {"coveredResources": ["nvidia.com/gpu"], "flavors": [{"name": way, "resources": resources}]}
    queue: dict[str, Any] = {"namespaceSelector": {}, "resourceGroups": [group]}
    if way is Way.CHECK:
        queue["admissionChecksStrategy"] = {"admissionChecks": [{"name": way}]}
    _post(stage, f"{_KUEUE}/resourceflavors", "ResourceFlavor", way, {})
    _post(stage, f"{_KUEUE}/clusterqueues", "ClusterQueue", way, queue)
    _post(stage, f"{_KUEUE}/namespaces/{NAMESPACE}/localqueues", "LocalQueue", way, {"clusterQueue": way})


def _post(stage: Stage, path: str, kind: str, name: str, spec: dict[str, Any]) -> None:
    body = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": {"name": name}, "spec": spec}
    stage.api.post(path, json=body).raise_for_status()


def _manifest(name: str, way: Way) -> dict[str, Any]:
    trainer = {"name": "trainer", "image": "yolo", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    pod: dict[str, Any] = {"restartPolicy": "Never", "containers": [trainer]}
    template: dict[str, Any] = {"spec": pod}
    if way is Way.CHECK:
        template["metadata"] = {"annotations": {"gpurelay.dev/gpu-memory": "10Gi"}}
    else:
        pod["initContainers"] = [{"name": "unload-sam3", "image": "curl"}]
    labels = {} if way is Way.PLAIN else {"kueue.x-k8s.io/queue-name": str(way)}
    spec = {"backoffLimit": 0, "suspend": way is not Way.PLAIN, "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": labels}, "spec": spec}
