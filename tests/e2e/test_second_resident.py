"""A second kind of resident on a real kubelet: an engine behind the adapter, on a GPU of its own, with jobs on both."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.recipe import QUICK
from demo.relay import SYSTEM, Relay
from devcluster import NodeKind
from devcluster.cluster import create_ledger
from devcluster.scripted.manifests import job_manifest
from devcluster.waiting import eventually
from gpu_memory import Ledger

TEAM = "lab"
ENGINE_MIB = 9_000
SHARES = r"{.items[0].metadata.name} {.items[0].status.capacity.nvidia\.com/gpu}"
ENGINE = f"""
import http.server, os, gpu_memory

held = gpu_memory.Ledger(os.environ["GPU_RELAY_SIMULATED_GPU"]).book({ENGINE_MIB})  # a real engine loads its model

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Handler).serve_forever()
"""
_RESTRICTED = {
    "runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip


def volume(namespace: str, name: str, folder: Path) -> list[dict[str, Any]]:
    """Return a PersistentVolume of a folder, bound to a PVC of a namespace."""
    common = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    pv = {
        **common, "capacity": {"storage": "1Gi"}, "hostPath": {"path": str(folder)},
        "claimRef": {"namespace": namespace, "name": name},
    }  # fmt: skip
    pvc = {**common, "volumeName": f"{namespace}-{name}", "resources": {"requests": {"storage": "1Gi"}}}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"{namespace}-{name}"}, "spec": pv},
        {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": namespace},
            "spec": pvc,
        },
    ]  # fmt: skip


def resident() -> dict[str, Any]:
    """Return the pod of the engine, which the adapter runs."""
    env = {
        "GPU_RELAY_SIMULATED_GPU": "/gpu-ledger", "LD_LIBRARY_PATH": "/gpu-ledger/lib",
        "RELAY_ADAPTER_PROFILE": "/profile/engine.yaml", "RELAY_ADAPTER_GPU_MEMORY_MIB": str(ENGINE_MIB),
        "RELAY_ADAPTER_CONTROL_SERVICE_ACCOUNTS": f"{SYSTEM}:gpu-relay", "RELAY_ADAPTER_PRELOAD": "true",
    }  # fmt: skip
    container = {
        "name": "adapter",
        "image": "localhost/gpu-relay/adapter:dev",
        "imagePullPolicy": "IfNotPresent",
        "args": ["--", "python3", "-c", ENGINE],
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8000}, "periodSeconds": 2},
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"nvidia.com/gpu": "1"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "gpu-ledger", "mountPath": "/gpu-ledger"}, {"name": "profile", "mountPath": "/profile"},
        ],
    }  # fmt: skip
    volumes = [
        {"name": "gpu-ledger", "persistentVolumeClaim": {"claimName": "second-gpu-ledger"}},
        {"name": "profile", "configMap": {"name": "engine-profile"}},
    ]
    meta = {
        "name": "engine", "namespace": SYSTEM, "labels": {"gpurelay.dev/resident": "engine"},
        "annotations": {"gpurelay.dev/allowed-namespaces": TEAM},
    }  # fmt: skip
    spec = {
        "serviceAccountName": "sam3", "securityContext": _RESTRICTED, "containers": [container], "volumes": volumes,
        "enableServiceLinks": False,
    }  # fmt: skip
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


@pytest.fixture
def second(relay: Relay) -> Iterator[Ledger]:
    """A second simulated GPU with the engine, and the namespace of a team that may use it."""
    if relay.node is not NodeKind.KUBELET:
        pytest.skip("the pods of a process node share their ports: the adapter's are SAM3's")
    relay.cluster.load_images(["adapter"])
    node, shares = relay.kubectl("get", "nodes", "-o", f"jsonpath={SHARES}").split()
    offer(relay, node, 2 * int(shares))
    folder = relay.ledger.parent / "second-gpu"
    create_ledger(folder)
    profile = "ready: {method: GET, path: /}\nprocess: {}\npassive: [GET /]\n"
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TEAM}},
        *volume(SYSTEM, "second-gpu-ledger", folder),
        *volume(TEAM, "gpu-ledger", folder),
        *volume(TEAM, "data", relay.volumes.data),
        *volume(TEAM, "results", relay.volumes.results),
        {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "engine-profile", "namespace": SYSTEM},
            "data": {"engine.yaml": profile},
        },
        resident(),
    ]  # fmt: skip
    everything = {"apiVersion": "v1", "kind": "List", "items": objects}
    relay.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(everything))
    ledger = Ledger(folder)
    eventually(lambda: ledger.used_mib == ENGINE_MIB, "the engine to be loaded", within=120)
    yield ledger
    relay.kubectl("-n", TEAM, "delete", "ytj", "--all")
    relay.kubectl("-n", SYSTEM, "delete", "pod/engine", "configmap/engine-profile", "pvc/second-gpu-ledger")
    relay.kubectl("delete", "namespace", TEAM)
    names = (f"{SYSTEM}-second-gpu-ledger", *(f"{TEAM}-{each}" for each in ("gpu-ledger", "data", "results")))
    relay.kubectl("delete", "pv", *names)
    offer(relay, node, int(shares))


def offer(relay: Relay, node: str, shares: int) -> None:
    """Have the node offer so many shares of its GPUs, as a device plugin does."""
    offered = {"nvidia.com/gpu": str(shares)}
    patch = json.dumps({"status": {"capacity": offered, "allocatable": offered}})
    relay.kubectl("patch", "node", node, "--subresource=status", "--type=merge", "-p", patch)


def status_of(relay: Relay, name: str) -> dict[str, Any]:
    """Return the status of a job of the team."""
    found = json.loads(relay.kubectl("-n", TEAM, "get", "ytj", name, "-o", "json"))
    return dict(found.get("status", {}))


def test_jobs_take_turns_with_sam3_and_with_an_engine_behind_the_adapter(
    relay: Relay, photograph: Path, second: Ledger
) -> None:
    relay.load_sam3(photograph)
    address = relay.kubectl("-n", SYSTEM, "get", "pod", "engine", "-o", "jsonpath={.status.podIP}")
    with httpx.Client(base_url=f"http://{address}:8001", trust_env=False, timeout=30) as client:
        assert client.get("/generate").text == "ok"
        manifest = job_manifest("own", model=QUICK.model, training=QUICK.training)
        manifest["metadata"]["namespace"] = TEAM
        relay.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
        relay.apply("beside")
        eventually(lambda: status_of(relay, "own").get("phase") == "Training", "the training of own", within=180)
        refused = client.get("/generate")
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        relay.reaches("beside", "Succeeded", "Failed", within=300)
        ended = {"Succeeded", "Failed"}
        eventually(lambda: status_of(relay, "own").get("phase") in ended, "the end of own", within=300)
        own, beside = status_of(relay, "own"), relay.job("beside")["status"]
        assert (own["phase"], beside["phase"]) == ("Succeeded", "Succeeded"), (own, beside)
        assert own["attempts"][0]["gpu"] != beside["attempts"][0]["gpu"]
        eventually(lambda: second.used_mib == ENGINE_MIB, "the engine to be loaded again", within=60)
        assert client.get("/generate").text == "ok"
    relay.is_back()
