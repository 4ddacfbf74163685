"""The cluster that the environment asks for: one of our own, at the depth chosen, or one that exists."""

import os

from devcluster import choose
from devcluster.cluster import Cluster
from devcluster.existing import ExistingCluster
from devcluster.progress import logger


def open_cluster(name: str | None = None) -> Cluster | ExistingCluster:
    """Return the cluster for `NODE` (auto, none, process, kubelet, existing), to be used in a `with` block.

    Logs which node it is and why. Raises ClusterError when what was asked for cannot run here.
    """
    requested = os.environ.get(choose.VARIABLE)
    if requested == choose.EXISTING:
        cluster = ExistingCluster()
        logger.info("node: existing (NODE=existing was asked for; KUBECONFIG=%s)", cluster.kubeconfig)
        return cluster
    choice = choose.choose(requested, choose.look())
    logger.info("%s", choice)
    return Cluster(choice.node, name)
