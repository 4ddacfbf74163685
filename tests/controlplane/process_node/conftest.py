"""A control plane with a process node: pods are real processes, and the API shows their state."""

import signal
from collections.abc import Iterator

import pytest

from devcluster import Cluster
from devcluster.cluster import create_ledger
from devcluster.waiting import eventually
from tests.support.process_node import Node, Pods


@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        create_ledger(cluster.ledger)
        yield cluster


@pytest.fixture(scope="package")
def running_node(cluster: Cluster) -> Iterator[Node]:
    node = Node(cluster)
    node.start()
    yield node
    node.end(signal.SIGTERM)
    assert node.pods_processes() == set()


@pytest.fixture
def node(running_node: Node) -> Node:
    """The node, ready."""
    name = running_node.cluster.node_name
    running_node.cluster.kubectl("wait", "--for=create", f"node/{name}", "--timeout=30s")
    running_node.cluster.kubectl("wait", "--for=condition=Ready", f"node/{name}", "--timeout=30s")
    return running_node


@pytest.fixture
def pods(node: Node, cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Pods]:
    namespace = request.node.name.replace("_", "-")[:60].strip("-")
    cluster.kubectl("create", "namespace", namespace)
    pods = Pods(cluster, namespace)
    account = ("get", "serviceaccount", "default", "--ignore-not-found", "-o", "name")
    eventually(lambda: pods.kubectl(*account), "the default account")
    yield pods
    pods.kubectl("delete", "deployments,pods", "--all", "--grace-period=1", "--timeout=30s")
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    # the node forgets what is deleted, whatever became of it before
    eventually(lambda: not list((node.run_dir / "pods").iterdir()), "no pod's folder left")
