"""A control plane furnished for the operator: manifests/base without its workloads, two nodes, namespaces."""

import json
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import yaml

from devcluster import Cluster, ClusterError, accounts
from devcluster.controlplane import api_client
from devcluster.crds import wait_established
from devcluster.paths import REPOSITORY
from devcluster.waiting import eventually

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
ANY_PRIORITY = {"gpurelay.dev/max-priority": "1000000000"}
NODES = ("node-1", "node-2")
_HEARTBEAT = 10.0
_WORKLOADS = frozenset({"Deployment"})


def furnish(cluster: Cluster) -> None:
    """Apply what the operator needs to find, and wait until kubectl knows our kind."""
    install(cluster, REPOSITORY / "manifests" / "base")
    wait_established(cluster.kubectl, "yolotrainingjobs.gpurelay.dev")
    eventually(lambda: _knows_our_kind(cluster), "discovery of our kind")
    for node in NODES:  # the garbage collector deletes pods of nodes that do not exist
        cluster.kubectl("create", "-f", "-", stdin=json.dumps(_node(node)))
    threading.Thread(target=_keep_nodes_ready, args=(cluster.run_dir,), daemon=True).start()
    eventually(lambda: "not-ready" not in cluster.kubectl("get", "nodes", "-o", "yaml"), "the nodes to be ready")


def install(cluster: Cluster, kustomization: Path) -> None:
    """Apply a kustomization, but not its workloads: their part is played by processes of the tests."""
    objects = kustomized(cluster, kustomization)
    wanted = [each for each in objects if each["kind"] not in _WORKLOADS]
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(wanted))


def kustomized(cluster: Cluster, kustomization: Path) -> list[dict[str, Any]]:
    """Return the objects of a kustomization."""
    return list(yaml.safe_load_all(cluster.kubectl("kustomize", str(kustomization))))


def service_account_kubeconfig(cluster: Cluster, account: str, namespace: str = "gpu-relay") -> Path:
    """Write a kubeconfig with a token of a service account, as its pod has one; return its path."""
    with api_client(cluster.run_dir) as api:
        return accounts.write_kubeconfig(api, cluster.run_dir, namespace, account)


def create_namespace(api: httpx.Client, name: str) -> None:
    """Create a namespace of `restricted` pods and jobs of any priority; wait until pods can be created in it."""
    meta = {"name": name, "labels": RESTRICTED, "annotations": ANY_PRIORITY}
    api.post("/api/v1/namespaces", json={"metadata": meta}).raise_for_status()
    eventually(lambda: api.get(f"/api/v1/namespaces/{name}/serviceaccounts/default").is_success, "the default account")


def _knows_our_kind(cluster: Cluster) -> bool:
    try:
        return "spec" in cluster.kubectl("explain", "yolotrainingjobs")
    except ClusterError:
        return False


def _keep_nodes_ready(run_dir: Path) -> None:
    """Say for the nodes that they are ready, in a kubelet's stead, for as long as the API server answers."""
    with api_client(run_dir) as api, suppress(httpx.TransportError):
        while True:
            for node in NODES:
                now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now}
                api.patch(
                    f"/api/v1/nodes/{node}/status",
                    content=json.dumps({"status": {"conditions": [ready]}}),
                    headers={"Content-Type": "application/strategic-merge-patch+json"},
                )
            time.sleep(_HEARTBEAT)


def _node(name: str) -> dict[str, object]:
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
