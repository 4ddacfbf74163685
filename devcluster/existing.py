"""A cluster that is there already, used in place of one of our own: `NODE=existing`, and KUBECONFIG says which.

It is never chosen by itself: what runs against it creates and deletes things in it.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from devcluster.errors import ClusterError
from devcluster.kubectl import Kubectl

#: The folder of a simulated GPU as the existing cluster's node sees it; unset where the node has a real GPU.
LEDGER_VARIABLE = "GPU_RELAY_LEDGER"


class ExistingCluster:
    """What `Cluster` offers, for a cluster that this process did not start and will not end."""

    def __init__(self, kubeconfig: Path | None = None) -> None:
        chosen = kubeconfig or os.environ.get("KUBECONFIG")
        if not chosen:
            raise ClusterError("NODE=existing needs KUBECONFIG to say which cluster (for kind: `kind get kubeconfig`)")
        self.kubeconfig = Path(chosen).expanduser()
        if not self.kubeconfig.is_file():
            raise ClusterError(f"KUBECONFIG={chosen} is not a file: it must name one kubeconfig")
        self.kubectl = Kubectl(self.kubeconfig)

    def __enter__(self) -> Self:
        """Check that the cluster answers."""
        self.kubectl("version")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the cluster as it is."""

    @property
    def node_name(self) -> str:
        """The first node that advertises a GPU, else the first node."""
        nodes = json.loads(self.kubectl("get", "nodes", "--output=json"))["items"]
        if not nodes:
            raise ClusterError(f"the cluster of {self.kubeconfig} has no node")
        with_gpu = [node for node in nodes if "nvidia.com/gpu" in node["status"].get("allocatable", {})]
        return str((with_gpu or nodes)[0]["metadata"]["name"])

    @property
    def ledger(self) -> Path:
        """The folder of the node's simulated GPU; raises ClusterError where the environment names none."""
        if folder := os.environ.get(LEDGER_VARIABLE):
            return Path(folder)
        raise ClusterError(
            f"set {LEDGER_VARIABLE} to the simulated GPU's folder on the node: see docs/local-cluster.md"
        )

    def load_images(self, names: Iterable[str]) -> None:
        """Do nothing: the existing cluster must have the images (for kind: `kind load`), see docs/local-cluster.md."""
