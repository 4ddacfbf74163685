"""GPU Relay in a local cluster, from manifests/overlays/local, for the demo and the end-to-end tests."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from devcluster.paths import REPOSITORY
from devcluster.waiting import eventually

_CRD = "yolotrainingjobs.gpurelay.dev"
_NODE_FOLDER = "/var/lib/gpu-relay"
_OPEN = 0o777
PYTHONPATH = ":".join(str(REPOSITORY / part) for part in ("operator", "images/sam3", "images/yolo", "images/common"))


class ClusterLike(Protocol):
    """What deploying needs of a cluster."""

    @property
    def kubectl(self) -> Callable[..., str]:
        """Call kubectl with all rights; takes `stdin`."""

    @property
    def ledger(self) -> Path:
        """The folder of the node's simulated GPU."""


class Volumes:
    """The folders of the node behind the local overlay's volumes."""

    def __init__(self, root: Path) -> None:
        self.models = root / "models"
        self.data = root / "data"
        self.results = root / "results"
        for folder in (root, self.models, self.data, self.results):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(_OPEN)  # pods run as a user of their own

    def make_tiny_model(self) -> None:
        """Write a small SAM3 with the real architecture and random weights to the folder of the models."""
        command = [sys.executable, "-m", "sam3_server", "make-tiny-model", str(self.models / "sam3")]
        environment = {"PYTHONPATH": PYTHONPATH, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def deploy(cluster: ClusterLike, volumes: Volumes) -> None:
    """Apply CRD, operator, SAM3 and volumes, and wait until both Deployments are up."""
    text = cluster.kubectl("kustomize", str(REPOSITORY / "manifests" / "overlays" / "local"))
    folders = {"gpu": cluster.ledger, "models": volumes.models, "data": volumes.data, "results": volumes.results}
    for name, folder in folders.items():
        text = text.replace(f"path: {_NODE_FOLDER}/{name}\n", f"path: {folder}\n")
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=text)
    # not `kubectl wait`, which fails while the CRD has no conditions at all
    established = ("get", f"crd/{_CRD}", "-o", "jsonpath={.status.conditions[?(@.type=='Established')].status}")
    eventually(lambda: cluster.kubectl(*established) == "True", "the CRD to be established")
    for name in ("sam3", "gpu-relay"):
        cluster.kubectl("-n", "gpu-relay", "rollout", "status", f"deployment/{name}", "--timeout=180s", timeout=200)


def resident_address(kubectl: Callable[..., str]) -> str:
    """Return the base URL of SAM3's pod; empty while it has no address."""
    path = "jsonpath={range .items[?(@.status.phase=='Running')]}{.status.podIP}{'\\n'}{end}"
    addresses = kubectl("-n", "gpu-relay", "get", "pods", "-l", "gpurelay.dev/resident=sam3", "-o", path).split()
    return f"http://{addresses[0]}:8000" if addresses else ""
