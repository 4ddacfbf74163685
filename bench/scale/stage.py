"""The cluster of a run: a control plane, kwok's nodes with a GPU each, and the residents that own them."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bench.scale import actors, stages
from devcluster import Cluster, kwok
from devcluster.controlplane import api_client
from devcluster.paths import REPOSITORY
from devcluster.scripted.furnished import furnish
from devcluster.waiting import eventually

NAMESPACE = "bench"
_THREADS = 16
_CAPACITY = {"cpu": "64", "memory": "256Gi", "pods": "110", "nvidia.com/gpu": "1"}


@dataclass(frozen=True)
class Stage:
    """What a run takes place on."""

    cluster: Cluster
    api: httpx.Client
    gpus: int
    log: Path
    """The orders that the residents received: lines of [when, "unload" or "load", number]."""

    def create(self, path: str, bodies: list[dict[str, Any]]) -> list[float]:
        """Create objects, several at a time; return when each was asked for (seconds since the epoch)."""

        def one(body: dict[str, Any]) -> float:
            began = time.time()
            self.api.post(path, json=body).raise_for_status()
            return began

        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(one, bodies))


@contextlib.contextmanager
def open_stage(
    gpus: int, seconds: float, folder: Path, *, init_seconds: float = 0.0, kueue: bool = False
) -> Iterator[Stage]:
    """Open a stage with so many GPUs, on which each training run takes `seconds`."""
    program, log = kwok.ensure(), folder / "residents.jsonl"
    with Cluster(kueue=kueue) as cluster, api_client(cluster.run_dir) as api, _actors(gpus, log):
        furnish(cluster)
        if kueue:
            cluster.kubectl("apply", "-f", str(REPOSITORY / "manifests/components/kueue/rbac.yaml"))
        api.post("/api/v1/namespaces", json={"metadata": {"name": NAMESPACE}}).raise_for_status()
        kwok.start(cluster.run_dir, cluster.run.processes(), program, stages.pod_stages(seconds, init_seconds))
        stage = Stage(cluster, api, gpus, log)
        stage.create("/api/v1/nodes", [kwok.node(f"gpu-{number}", _CAPACITY) for number in range(gpus)])
        account = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"
        eventually(lambda: api.get(account).is_success, "the namespace's account")
        residents = [_resident(number) for number in range(gpus)]
        stage.create(f"/api/v1/namespaces/{NAMESPACE}/pods", residents)
        eventually(lambda: _running(api) == gpus, "the residents' pods to run", within=120, every=0.5)
        yield stage


@contextlib.contextmanager
def _actors(residents: int, log: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.scale.actors", "--residents", str(residents), "--log", str(log)]
    process = subprocess.Popen(command, cwd=REPOSITORY)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _resident(number: int) -> dict[str, Any]:
    spec = {
        "nodeName": f"gpu-{number}",
        "containers": [{"name": "sam3", "image": "sam3"}],
        "tolerations": [{"operator": "Exists"}],
    }
    return {
        "metadata": {
            "name": f"sam3-{number}",
            "labels": {"gpurelay.dev/resident": "sam3"},
            "annotations": {stages.ADDRESS: actors.address(number)},
        },
        "spec": spec,
    }


def _running(api: httpx.Client) -> int:
    query = {"labelSelector": "gpurelay.dev/resident", "fieldSelector": "status.phase=Running"}
    return len(api.get(f"/api/v1/namespaces/{NAMESPACE}/pods", params=query).json()["items"])
