"""A real Kubernetes on this machine, for the demo, the benchmarks and the tests: README.md and docs/local-cluster.md.

Here are the parts of the cluster (API server, etcd, controller manager, scheduler, a kubelet or the process node), what
builds them and the images, the deployment of the whole relay in it (`deploy`), what plays resident, kubelet and
trainer where no node runs pods (`scripted`), and our programs as processes (`programs`). What a test checks, what the
demo shows and what a benchmark measures is not here; no image and no package of a release contains this package.
"""

from devcluster.cluster import Cluster
from devcluster.errors import ClusterError
from devcluster.existing import ExistingCluster
from devcluster.opening import open_cluster
from devcluster.runs import NodeKind

__all__ = ["Cluster", "ClusterError", "ExistingCluster", "NodeKind", "open_cluster"]
