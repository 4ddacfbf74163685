"""containerd for one run: its images outlive the run, its containers never do."""

import contextlib
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from devcluster import node_config, oci
from devcluster.errors import ClusterError
from devcluster.host import run
from devcluster.packages import cni_folder, find_tool
from devcluster.processes import Processes, end_processes, marked

NAME = "containerd"
_NAMESPACE = "k8s.io"
_UNFINISHED = "gpu-relay-layer"
"""The snapshot that is being made."""
_KEPT = "containerd.io/gc.root"
"""The label by which containerd's garbage collection keeps what nothing refers to; ctr sets it on what it makes."""
_START_SECONDS = 60.0
_END_SECONDS = 10.0


class Containerd:
    """The container runtime of a run's node. Its root, with the images, is `<cache>/containerd`."""

    def __init__(self, run_dir: Path, root: Path, processes: Processes) -> None:
        self._dir = run_dir
        self._root = root
        self._processes = processes

    def start(self, pause: Path) -> None:
        """Start it without a container from any former run, and with the pause image."""
        plugins = cni_folder()
        if plugins is None:
            raise ClusterError("the CNI plugins are missing: install containernetworking-plugins")
        pause_image = oci.pause_reference(pause)
        config = node_config.containerd_config(self._dir, self._root, plugins, pause_image)
        (self._dir / "containerd.toml").write_text(config)
        self._launch()
        if self._purge():
            # It read the containers at its start and would still show them to the kubelet.
            self._processes.end((NAME,), _END_SECONDS)
            for folder in ("containers", "sandboxes"):
                shutil.rmtree(self._root / "io.containerd.grpc.v1.cri" / folder, ignore_errors=True)
            self._launch()
        if pause_image not in self.images():
            self.load(lambda stream: oci.write_pause(pause, pause_image, stream))

    def images(self) -> set[str]:
        """Return the references of all images."""
        return set(self.ctr("images", "list", "--quiet").split())

    def snapshots(self) -> set[str]:
        """Return the names of all unpacked layers: their chain ids (`sha256:…`)."""
        rows = self.ctr("snapshots", "list").splitlines()
        return {row.split()[0] for row in rows if row.startswith("sha256:")}

    def remove_images(self, references: list[str]) -> None:
        """Remove references; blobs and layers that none uses go with the last."""
        if references:
            self.ctr("images", "remove", "--sync", *references)

    def remove_unnamed_images(self) -> None:
        """Remove what CRI holds by image id alone once no name leads to it: it would keep its layers indefinitely."""
        self.remove_images(unnamed(self.ctr("images", "list")))

    def add_snapshot(self, name: str, parent: str, layer: Path) -> None:
        """Add an unpacked layer as a snapshot, by hard links to its files; it stays until `release_snapshot`.

        `parent` is the snapshot below it, empty for the lowest layer. `layer` is a folder as overlayfs mounts it.
        """
        run(*self._ctr(), "snapshots", "remove", _UNFINISHED, check=False)  # of an import that was killed
        below = [parent] if parent else []
        mounts = json.loads(self.ctr("snapshots", "prepare", "--mounts", _UNFINISHED, *below))
        run("cp", "--archive", "--link", f"{layer}/.", str(writable_folder(mounts)))
        self.ctr("snapshots", "commit", name, _UNFINISHED)

    def release_snapshot(self, name: str) -> None:
        """Let a snapshot go with the last image that needs it."""
        self.ctr("snapshots", "label", name, f"{_KEPT}=")

    def load(self, write: Callable[[IO[bytes]], None]) -> None:
        """Import an OCI archive while `write` writes it.

        Raises ClusterError with ctr's own words when the import fails.
        """
        process = subprocess.Popen(
            [*self._ctr(), "images", "import", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if process.stdin is None:
            raise AssertionError("a pipe was asked for")
        # A broken pipe means that ctr has ended: its own words say why.
        with contextlib.suppress(BrokenPipeError), process.stdin:
            write(process.stdin)
        output = process.stdout.read().decode(errors="replace") if process.stdout else ""
        if process.wait():
            raise ClusterError(f"the images could not be imported: {output.strip()}")

    def ctr(self, *arguments: str) -> str:
        """Run containerd's own client and return its output; raises ClusterError with its words."""
        return run(*self._ctr(), *arguments)

    def _ctr(self) -> list[str]:
        return [find_tool("ctr") or "ctr", "--address", str(node_config.socket(self._dir)), "--namespace", _NAMESPACE]

    def _launch(self) -> None:
        self._processes.start(
            NAME, [find_tool("containerd") or "containerd", "--config", self._dir / "containerd.toml"]
        )
        self._processes.wait_for(NAME, self._answers, _START_SECONDS, (NAME,))

    def _answers(self) -> bool:
        try:
            # Listing images needs the metadata plugin, which comes after the socket.
            self.images()
        except ClusterError:
            return False
        return True

    def _purge(self) -> bool:
        containers = self.ctr("containers", "list", "--quiet").split()
        deadline = time.monotonic() + _END_SECONDS
        # Each in turn and again: one whose task is just going away refuses to be removed.
        while left := self.ctr("containers", "list", "--quiet").split():
            refusals = [refusal for container in left if (refusal := self._remove(container))]
            if refusals and time.monotonic() > deadline:
                raise ClusterError("containers of a former run cannot be removed: " + "; ".join(refusals))
        return bool(containers)

    def _remove(self, container: str) -> str:
        """Remove a container; return why it cannot be removed, empty if it was."""
        try:
            self.ctr("containers", "remove", container)
        except ClusterError as error:
            return str(error)
        return ""

    def stop(self) -> None:
        """End every container, containerd and the containers' shims; works as well when some of it is gone already."""
        self._end_containers()
        if self._answers():
            self._purge()
        self._processes.end((NAME,), _END_SECONDS)
        sockets = self._shim_sockets()
        shims = [process for process in marked(self._dir) if process.command().endswith("containerd-shim-runc-v2")]
        end_processes(shims, signal.SIGKILL, _END_SECONDS)
        for path in sockets:
            path.unlink(missing_ok=True)

    def _end_containers(self) -> None:
        """Kill all containers' processes through runc, which knows their cgroups whether containerd lives or not."""
        state = self._dir / "runc" / _NAMESPACE
        if not state.exists():
            return
        runc = [find_tool("runc") or "runc", "--root", str(state)]
        for container in json.loads(run(*runc, "list", "--format", "json", check=False) or "null") or []:
            run(*runc, "delete", "--force", container["id"], check=False)

    def _shim_sockets(self) -> list[Path]:
        files = (self._dir / "containerd" / "io.containerd.runtime.v2.task").glob("*/*/address")
        return [Path(file.read_text().strip().removeprefix("unix://")) for file in files]


def writable_folder(mounts: Sequence[Mapping[str, Any]]) -> Path:
    """Return the folder that takes a new snapshot's files, from what `ctr snapshots prepare --mounts` prints."""
    (mount,) = mounts
    upper = [option.removeprefix("upperdir=") for option in mount["Options"] if option.startswith("upperdir=")]
    return Path(upper[0] if upper else mount["Source"])  # the lowest snapshot is a bind mount


def unnamed(listing: str) -> list[str]:
    """Return the references by id (`sha256:…`) of images that no name leads to, from what `ctr images list` prints."""
    rows = [row.split() for row in listing.splitlines()[1:] if row.strip()]
    named = {digest for reference, _, digest, *_ in rows if not reference.startswith("sha256:")}
    return [reference for reference, _, digest, *_ in rows if reference.startswith("sha256:") and digest not in named]
