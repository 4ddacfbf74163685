"""The same jobs without the relay: `batch/v1` Jobs whose pods unload SAM3 from an init container, alone or in Kueue.

The init container's work, to unload the resident and to measure as often as the relay does, is a delay (stages.py);
that its image and its process must start before it is left out, in its favour.
"""

import time
from typing import Any

from bench.scale.relay import idle_gaps
from bench.scale.stage import NAMESPACE, Stage
from bench.scale.watching import PodWatch
from devcluster.waiting import eventually

_JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
_KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
_LABEL = "batch.kubernetes.io/job-name"
_QUEUE = "gpus"
_POLL = 0.25


def run(stage: Stage, jobs: int, window: float, *, kueue: bool) -> dict[str, Any]:
    """Queue the jobs at once, run them for the length of the window, and return the figures."""
    if kueue:
        _create_queue(stage)
    with PodWatch(stage.cluster.run_dir, NAMESPACE, _LABEL) as watch:
        began = time.time()
        prefix = "kueue" if kueue else "plain"
        stage.create(_JOBS, [_manifest(f"{prefix}-{number}", kueue) for number in range(jobs)])
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


def _create_queue(stage: Stage) -> None:
    """Create a ClusterQueue with all GPUs, and a LocalQueue."""
    resources = [{"name": "nvidia.com/gpu", "nominalQuota": stage.gpus}]
    group = {"coveredResources": ["nvidia.com/gpu"], "flavors": [{"name": _QUEUE, "resources": resources}]}
    _post(stage, f"{_KUEUE}/resourceflavors", "ResourceFlavor", {})
    _post(stage, f"{_KUEUE}/clusterqueues", "ClusterQueue", {"namespaceSelector": {}, "resourceGroups": [group]})
    _post(stage, f"{_KUEUE}/namespaces/{NAMESPACE}/localqueues", "LocalQueue", {"clusterQueue": _QUEUE})


def _post(stage: Stage, path: str, kind: str, spec: dict[str, Any]) -> None:
    body = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": {"name": _QUEUE}, "spec": spec}
    stage.api.post(path, json=body).raise_for_status()


def _manifest(name: str, kueue: bool) -> dict[str, Any]:
    pod = {
        "restartPolicy": "Never",
        "initContainers": [{"name": "unload-sam3", "image": "curl"}],
        "containers": [{"name": "trainer", "image": "yolo", "resources": {"limits": {"nvidia.com/gpu": "1"}}}],
    }
    labels = {"kueue.x-k8s.io/queue-name": _QUEUE} if kueue else {}
    spec = {"backoffLimit": 0, "suspend": kueue, "template": {"spec": pod}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": labels}, "spec": spec}
