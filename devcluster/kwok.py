"""kwok beside a control plane: nodes that are always ready, and pods that live by stages (https://kwok.sigs.k8s.io)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from devcluster import binaries
from devcluster.processes import Processes

PROGRAM = "kwok"
MINE = {"kwok.x-k8s.io/node": "fake"}
"""The annotation of nodes that are kwok's."""
_STAGES = ("node/fast/node-initialize.yaml", "node/heartbeat/node-heartbeat.yaml")

Object = dict[str, Any]


def ensure() -> Path:
    """Return the path of kwok, building it where no folder holds it yet; its stages for nodes lie beside it.

    Raises ClusterError when that fails.
    """
    program = binaries.ensure([PROGRAM])[PROGRAM]
    stages = program.parent / "node-stages.yaml"
    if not stages.exists():
        folder = binaries.upstream_folder(binaries.KWOK) / "kustomize" / "stage"
        scratch = stages.with_suffix(".new")
        scratch.write_text("\n---\n".join((folder / name).read_text() for name in _STAGES))
        scratch.replace(stages)
    return program


def start(run_dir: Path, processes: Processes, program: Path, pods: Sequence[Object]) -> None:
    """Start kwok for the nodes that are its own; `pods` are the stages that their pods go through."""
    stages = [*yaml.safe_load_all((program.parent / "node-stages.yaml").read_text()), *pods]
    (run_dir / "kwok.yaml").write_text(yaml.safe_dump_all(stages))
    selector = ",".join(f"{key}={value}" for key, value in MINE.items())
    processes.start(
        PROGRAM,
        [
            program, f"--kubeconfig={run_dir / 'kubeconfig'}", "--config=kwok.yaml", "--manage-all-nodes=false",
            f"--manage-nodes-with-annotation-selector={selector}",
        ],
    )  # fmt: skip


def node(name: str, capacity: dict[str, str]) -> Object:
    """Return a node of kwok's; `capacity` is what pods may take of it."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": MINE, "labels": {"kubernetes.io/hostname": name, "type": "kwok"}},
        "status": {"capacity": capacity, "allocatable": capacity},
    }
