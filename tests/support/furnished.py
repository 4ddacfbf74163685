"""A control plane furnished for the operator: our CRD, the operator's namespace, two nodes, a namespace for jobs."""

import json

import httpx

from tests.cluster import Cluster, ClusterError
from tests.support.operator_process import REPOSITORY
from tests.support.waiting import eventually


def furnish(cluster: Cluster) -> None:
    """Apply what the operator needs to find, and wait until kubectl knows our kind."""
    cluster.kubectl("apply", "-k", str(REPOSITORY / "crds"))
    cluster.kubectl("wait", "--for=condition=Established", "crd/yolotrainingjobs.gpurelay.dev")
    eventually(lambda: _knows_our_kind(cluster), "discovery of our kind")
    cluster.kubectl("create", "namespace", "gpu-relay")
    for node in ("node-1", "node-2"):  # the garbage collector deletes pods of nodes that do not exist
        cluster.kubectl("create", "-f", "-", stdin=json.dumps(_node(node)))


def create_namespace(api: httpx.Client, name: str) -> None:
    """Create a namespace and wait until pods can be created in it."""
    api.post("/api/v1/namespaces", json={"metadata": {"name": name}}).raise_for_status()
    eventually(lambda: api.get(f"/api/v1/namespaces/{name}/serviceaccounts/default").is_success, "the default account")


def _knows_our_kind(cluster: Cluster) -> bool:
    try:
        return "spec" in cluster.kubectl("explain", "yolotrainingjobs")
    except ClusterError:
        return False


def _node(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}}
