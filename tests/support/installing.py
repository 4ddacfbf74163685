"""Installing by the pages: a shell with the manifests, the commands that docs/ shows, and what is in a cluster."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from devcluster import Cluster
from devcluster.kubectl import find_kubectl
from devcluster.paths import REPOSITORY
from tests.support.pages import Block, page
from tests.support.walk import Walker

MANIFESTS = REPOSITORY / "manifests"
EARLIER_CRD = REPOSITORY / "tests" / "controlplane" / "before" / "crd.yaml"
"""The CRD of an earlier version."""
CRD = "yolotrainingjobs.gpurelay.dev"
OPERATIONS = [block for block in page("docs/operations.md").blocks if "test_uninstall.py" in block.reason]
UPGRADE, UPGRADE_HELM, ROLL_BACK, DELETE_JOBS, DELETE, DELETE_HELM, LOOK = OPERATIONS
_OTHER_PROGRAMS = ("helm ", "hf ")
"""Programs that are not installed here, or need an account: the tests do what they do."""


def open_shell(folder: Path, cluster: Cluster) -> Walker:
    """Return a shell in a folder with a copy of the manifests, and with kubectl for the cluster."""
    for name in ("manifests", "crds"):
        shutil.copytree(REPOSITORY / name, folder / name)
    path = f"{find_kubectl().parent}{os.pathsep}{os.environ['PATH']}"
    return Walker(folder, {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "PATH": path})


def call(shell: Walker, command: str) -> str:
    """Run a command; return what it prints. AssertionError when it fails."""
    code, shown = shell.run(command)
    assert code == 0, f"{command}\n{shown}"
    return shown


def run(shell: Walker, block: Block) -> str:
    """Run the commands that a block shows, except those of Helm and Hugging Face; return what they print."""
    commands = [step.command for step in block.shown]
    return "".join(call(shell, command) for command in commands if not command.startswith(_OTHER_PROGRAMS))


def inventory(cluster: Cluster) -> set[str]:
    """Return all objects by kind, namespace and name, except Events and what Kubernetes keeps for itself."""
    metadata = ((item["kind"], item["metadata"]) for item in _objects(cluster))
    rows = {f"{kind}/{each.get('namespace', '')}/{each['name']}" for kind, each in metadata}
    return {row for row in rows if "/kube-" not in row}


def marked(cluster: Cluster) -> set[str]:
    """Return the objects with a label, annotation or finalizer of GPU Relay: kind, name, and the keys."""
    found = set()
    for item in _objects(cluster):
        metadata = item["metadata"]
        keys = [*metadata.get("labels", {}), *metadata.get("annotations", {}), *metadata.get("finalizers", [])]
        if ours := sorted(key for key in keys if "gpurelay.dev" in key):
            found.add(f"{item['kind']} {metadata['name']}: {', '.join(ours)}")
    return found


def _objects(cluster: Cluster) -> list[dict[str, Any]]:
    """Return all objects, except Events."""
    kinds = cluster.kubectl("api-resources", "--verbs=list", "-o", "name").split()
    wanted = ",".join(kind for kind in kinds if not kind.startswith(("events", "componentstatuses")))
    text = cluster.kubectl("get", wanted, "--all-namespaces", "--ignore-not-found", "-o", "json")
    return list(json.loads(text)["items"]) if text else []
