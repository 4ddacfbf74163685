"""A real Kubernetes on this machine, for tests and the demo: see docs/local-cluster.md."""

from devcluster.cluster import Cluster
from devcluster.errors import ClusterError
from devcluster.existing import ExistingCluster
from devcluster.opening import open_cluster
from devcluster.runs import NodeKind

__all__ = ["Cluster", "ClusterError", "ExistingCluster", "NodeKind", "open_cluster"]
