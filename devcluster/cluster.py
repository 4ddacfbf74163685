"""A cluster as a context manager.

with Cluster(node="process") as cluster:
    cluster.kubectl("get", "nodes")
"""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from devcluster import binaries, cleanup, host, image_import, kueue, node_lock, packages, paths, runs, versions
from devcluster.controlplane import ControlPlane, api_client, node_ready
from devcluster.errors import ClusterError
from devcluster.image_builder import Builder
from devcluster.images import INSTALLED, select
from devcluster.kubectl import Kubectl
from devcluster.kubelet import KubeletNode
from devcluster.processes import Processes
from devcluster.progress import duration, logger
from devcluster.runs import NodeKind, Run

_names = itertools.count(1)
_NODE_SECONDS = 60.0
_PYTHON_PATH = f"{paths.REPOSITORY}:{paths.REPOSITORY / 'operator'}"
"""Where the process node finds its own modules, and the operator's Kubernetes client."""


class Cluster:
    """A local Kubernetes of this process: started by `with` (or `start`), gone at its end (or `stop`).

    `node` says how deep it goes: "none" (control plane only), "process" (pods are processes of this machine) or
    "kubelet" (pods are containers; root on Linux). Several clusters run side by side, but only one kubelet: a second
    waits up to `wait` seconds for the first to end. With `kueue`, Kueue runs beside the control plane.
    """

    def __init__(
        self,
        node: NodeKind | str = NodeKind.NONE,
        name: str | None = None,
        wait: float = 600.0,
        *,
        kueue: bool = False,
    ) -> None:
        self.node = NodeKind(node)
        self.name = name or f"{self.node}-{os.getpid()}-{next(_names)}"
        self._wait = wait
        self._with_kueue = kueue
        self._node: KubeletNode | None = None
        self._run: Run | None = None
        self._processes: Processes | None = None

    def __enter__(self) -> Self:
        """Start the cluster."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the cluster down."""
        self.stop()

    @property
    def run(self) -> Run:
        """The run behind this cluster; raises ClusterError while it is not started."""
        if self._run is None:
            raise ClusterError("the cluster is not started: use it in a `with` block, or call start()")
        return self._run

    @property
    def run_dir(self) -> Path:
        """The folder with the logs of every part, `<part>.log`."""
        return self.run.folder

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig with all rights."""
        return self.run.kubeconfig

    @property
    def node_name(self) -> str:
        """The node's name."""
        return self.run.node_name

    @property
    def ledger(self) -> Path:
        """The folder of the node's simulated GPU."""
        return self.run.ledger

    @property
    def kubectl(self) -> Kubectl:
        """Kubectl with all rights: `cluster.kubectl("get", "pods")` returns its output."""
        return Kubectl(self.kubeconfig)

    def start(self) -> None:
        """Start the cluster and return when it takes pods; what stale runs left is cleaned up first.

        Raises ClusterError when something is missing or fails; nothing is left behind then.
        """
        if self._run is not None:
            raise ClusterError(f"cluster {self.name} is started already")
        found = self.prepare()
        cleanup.sweep()
        self._run = runs.create(self.name, self.node)
        self._processes = Processes(self.run_dir)
        started = time.monotonic()
        try:
            if self.node is NodeKind.KUBELET:
                self._start_with_kubelet(self._processes, found)
            else:
                ControlPlane(self.run_dir, self._processes, found).start(self.node_name)
            if self.node is NodeKind.PROCESS:
                self._start_process_node(self._processes)
            if self._with_kueue:
                kueue.Kueue(self.run_dir, self._processes, found[kueue.PROGRAM]).start()
        except BaseException:
            self.stop()
            raise
        logger.info("Cluster %s is up after %s", self.name, duration(time.monotonic() - started))

    def build_images(self, names: Iterable[str] = INSTALLED) -> None:
        """Build those of the project's images that have changed; by default, those of an install."""
        if chosen := select(names):
            Builder().build(chosen)

    def load_images(self, names: Iterable[str] = INSTALLED) -> None:
        """Have the project's images on the node, building and importing what has changed.

        Pods ask for them as `localhost/gpu-relay/<name>:dev`. Raises ClusterError where the node is no kubelet's.
        """
        if self._node is None:
            raise ClusterError(f"a node of kind {self.node} runs no images: only NODE=kubelet does")
        image_import.load(select(names), Builder(), self._node.containerd)

    def stop(self) -> None:
        """Take the cluster down; does nothing when it is not started."""
        if self._run is not None:
            run, self._run, self._node = self._run, None, None
            cleanup.tear_down(run, self._processes)

    def detach(self) -> Run:
        """Let the cluster live on after this process; `python -m devcluster down` ends it."""
        run = self.run.detached()
        if self._processes is not None:
            self._processes.forget_children()
        self._run = None
        return run

    def prepare(self, images: Iterable[str] = ()) -> dict[str, Path]:
        """Find or build the binaries that this cluster runs, and install the packages of its node.

        On a kubelet's node, these images are built at the same time: much of that is a download, and leaves the
        processor to the compiler. Returns each binary's path. `start` does it too, without images; beforehand, long
        first builds can be watched.
        """
        if self.node is not NodeKind.KUBELET:
            return self._programs(versions.CONTROL_PLANE)
        images = list(images)
        packages.ensure(packages.NODE_TOOLS | (packages.IMAGE_TOOLS if images else {}), cni=True)
        with ThreadPoolExecutor(1) as other:
            building = other.submit(self.build_images, images)
            found = self._programs((*versions.CONTROL_PLANE, *versions.NODE))
            building.result()
        return found

    def _programs(self, names: Iterable[str]) -> dict[str, Path]:
        beside = {kueue.PROGRAM: kueue.ensure()} if self._with_kueue else {}
        return beside | binaries.ensure(names)

    def _start_with_kubelet(self, processes: Processes, found: dict[str, Path]) -> None:
        node_lock.acquire(self.run, self._wait, partial(cleanup.tear_down, only_if_stale=True))
        self._node = node = KubeletNode(self.run, processes, found)
        node.prepare()
        create_ledger(self.ledger)
        ControlPlane(self.run_dir, processes, found, host.GATEWAY).start(self.node_name)
        node.start()

    def _start_process_node(self, processes: Processes) -> None:
        create_ledger(self.ledger)
        command = [sys.executable, "-m", "devcluster.process_node"]
        arguments = {
            "--kubeconfig": self.run_dir / "node.kubeconfig",
            "--node-name": self.node_name,
            "--run-dir": self.run_dir / "node",
            "--ledger": self.ledger,
        }
        flat = [str(part) for pair in arguments.items() for part in pair]
        processes.start("node", [*command, *flat], {"PYTHONPATH": _PYTHON_PATH})
        with api_client(self.run_dir) as client:
            processes.wait_for("the node", lambda: node_ready(client, self.node_name), _NODE_SECONDS, ("node",))


def create_ledger(folder: Path) -> None:
    """Make the folder of a simulated GPU.

    Raises ClusterError with the tool's own words when it fails, for example without a C compiler.
    """
    done = subprocess.run(
        [sys.executable, "-m", "gpu_memory", "create-ledger", str(folder)],
        env={**os.environ, "PYTHONPATH": str(paths.REPOSITORY / "images" / "common")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ClusterError(f"the simulated GPU could not be made: {done.stderr.strip()}")
