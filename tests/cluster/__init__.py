"""A real Kubernetes on this machine, for tests and the demo: see docs/local-cluster.md."""

from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.existing import ExistingCluster
from tests.cluster.opening import open_cluster
from tests.cluster.runs import NodeKind

__all__ = ["Cluster", "ClusterError", "ExistingCluster", "NodeKind", "open_cluster"]
