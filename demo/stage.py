"""The cluster of the demo with GPU Relay deployed in it, and its removal."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from demo import manifest
from demo.console import Timeline
from demo.interruption import uninterrupted
from demo.recipe import Recipe
from devcluster import Cluster, ClusterError, ExistingCluster, NodeKind, open_cluster, runs
from devcluster.deploy import Volumes, deploy
from devcluster.images import INSTALLED
from devcluster.kubectl import Kubectl, find_kubectl
from devcluster.paths import REPOSITORY

KEPT_NAME = "demo"
"""The name of a cluster that is kept."""
_NAMESPACES = ("gpu-relay", manifest.NAMESPACE)
_OVERLAY = REPOSITORY / "manifests" / "overlays" / "local"


class Stage:
    """A cluster that takes pods, the volumes of its node, and GPU Relay once `deploy` has returned."""

    def __init__(self, cluster: Cluster | ExistingCluster, timeline: Timeline) -> None:
        self._cluster = cluster
        self._timeline = timeline
        self._kept = False
        # beside the simulated GPU: there, machine and node see the same folder under the same name
        self._root = cluster.ledger.parent / "demo-volumes"
        self.volumes = Volumes(self._root)

    @property
    def kubectl(self) -> Kubectl:
        """Kubectl with all rights."""
        return self._cluster.kubectl

    @property
    def results(self) -> Path:
        """The folder behind the volume to which the job writes."""
        return self.volumes.results / manifest.NAME

    def deploy(self, recipe: Recipe) -> None:
        """Write the data set and a model, load the images of the pods, deploy operator and SAM3.

        Raises ClusterError when a part does not come up.
        """
        say = self._timeline
        say.note(f"Making a data set of handwritten digits: {recipe.train + recipe.val} images", "setup")
        recipe.make_images(self.volumes.data / manifest.DATASET)
        say.note("Making a small SAM3 with the real architecture and random weights (about 10 s)", "setup")
        with say.wait("making a SAM3"):
            self.volumes.make_tiny_model()
        if isinstance(self._cluster, Cluster) and self._cluster.node is NodeKind.KUBELET:
            say.note("Loading the three images into the node (seconds when they are there already)", "setup")
            self._cluster.load_images()
        say.note("Deploying operator and SAM3 from manifests/overlays/local (about 20 s)", "setup")
        with say.wait("waiting for both pods to be ready"):
            deploy(self._cluster, self.volumes)
        for line in self._pods():
            say.note(line, "setup")

    def keep(self) -> list[str]:
        """Let everything live on; return the sentences that say how to use it and how to end it."""
        self._kept = True
        use = [f"export KUBECONFIG={self._cluster.kubeconfig}", f"{_short_kubectl()} get ytj -A"]
        if isinstance(self._cluster, Cluster):
            self._cluster.detach()
            return ["The cluster is kept (KEEP=1):", *use, "make down      # ends it"]
        return ["The relay is kept in the existing cluster (KEEP=1):", *use, f"kubectl delete -k {_OVERLAY}"]

    def clear(self) -> None:
        """Take the relay out of an existing cluster, unless it is kept; one of our own goes as a whole."""
        if self._kept or isinstance(self._cluster, Cluster):
            return
        self._timeline.note("Taking the relay out of the existing cluster (up to a minute)", "end")
        jobs = ("delete", "ytj", "--all", "--all-namespaces", "--timeout=60s")
        for command in (jobs, ("delete", "--ignore-not-found", "-k", str(_OVERLAY), "--timeout=120s")):
            with contextlib.suppress(ClusterError):
                self.kubectl(*command, timeout=150)
        shutil.rmtree(self._root)

    def _pods(self) -> list[str]:
        path = "jsonpath={range .items[*]}pod {.metadata.name} is {.status.phase} on {.spec.nodeName}{'\\n'}{end}"
        return self.kubectl("-n", "gpu-relay", "get", "pods", "-o", path).splitlines()


@contextlib.contextmanager
def opened(timeline: Timeline, *, keep: bool) -> Iterator[Stage]:
    """Open the cluster that the environment asks for, and take down at the end whatever was not kept.

    Raises ClusterError when it cannot be had.
    """
    if keep and (run := runs.load(KEPT_NAME)) and run.state() is not runs.State.STALE:
        raise ClusterError(f"the cluster of an earlier KEEP=1 is still there ({run.folder}): end it with `make down`")
    chosen = open_cluster(KEPT_NAME if keep else None)
    if isinstance(chosen, Cluster):
        chosen.prepare(INSTALLED)
    with chosen as cluster:
        if isinstance(cluster, ExistingCluster):
            _refuse_to_share(cluster)
        stage = Stage(cluster, timeline)
        try:
            yield stage
        finally:
            uninterrupted()
            stage.clear()


def _refuse_to_share(cluster: ExistingCluster) -> None:
    found = cluster.kubectl("get", "namespaces", *_NAMESPACES, "--ignore-not-found", "-o", "name").split()
    if found:
        raise ClusterError(
            f"the existing cluster has {', '.join(found)} already, which the demo would use and delete: "
            f"remove them first (kubectl delete -k {_OVERLAY})"
        )


def _short_kubectl() -> str:
    found = find_kubectl()
    return "kubectl" if shutil.which("kubectl") == str(found) else str(found)
