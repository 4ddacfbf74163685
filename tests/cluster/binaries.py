"""The Kubernetes and etcd binaries: found where `KUBEBUILDER_ASSETS` points, else built once from pinned Go modules.

Each Go module under `go/` is one group; a group's folder in the cache is named after its version and a hash of its
files, so that a changed go.mod is built anew and an old checkout still finds its own.
"""

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import paths, versions
from tests.cluster.go_tool import find_go
from tests.cluster.progress import logger, require_disk, run_long


@dataclass(frozen=True)
class Group:
    """One Go module and what building it costs (measured on two cores, with cold caches)."""

    module: str
    version: str
    cost: str
    disk_gib: float

    @property
    def sources(self) -> Path:
        """The folder of the module."""
        return paths.GO_SOURCES / self.module

    @property
    def folder(self) -> Path:
        """The folder in the cache that holds this version's binaries."""
        return paths.cache() / "bin" / f"{self.module}-{self.version}-{hash_files(self.sources)}"

    def targets(self, names: Iterable[str]) -> list[str]:
        """Return the packages that `go build` is to build for these binaries."""
        return [f"k8s.io/kubernetes/cmd/{name}" for name in names] if self.module == "kube" else ["."]


KUBE = Group("kube", versions.KUBERNETES, "about 7 minutes on 2 cores, 4 GB in Go's caches and 0.5 GB here", 5.0)
ETCD = Group("etcd", versions.ETCD, "about 40 seconds, 30 MB", 1.0)
PAUSE = Group("pause", "1", "a few seconds", 0.5)


def group_of(name: str) -> Group:
    """Return the group that builds this binary."""
    return {"etcd": ETCD, "pause": PAUSE}.get(name, KUBE)


def hash_files(folder: Path) -> str:
    """Return eight hex digits over names and contents of all files of a folder."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(folder)}\0{file.stat().st_size}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


def ensure(names: Iterable[str]) -> dict[str, Path]:
    """Return the path of each binary, building those that no folder holds yet.

    Raises ClusterError when a build fails or the disk is too small for it.
    """
    names = list(names)
    if assets := _kubebuilder_assets(names):
        return assets
    found: dict[str, Path] = {}
    with _lock():
        for group in (PAUSE, ETCD, KUBE):
            wanted = [name for name in names if group_of(name) == group]
            missing = [name for name in wanted if not (group.folder / name).exists()]
            if missing:
                _build(group, missing)
            found.update({name: group.folder / name for name in wanted})
    return found


def _kubebuilder_assets(names: Iterable[str]) -> dict[str, Path] | None:
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if not folder:
        return None
    found = {name: Path(folder) / name for name in names}
    missing = [name for name, path in found.items() if not os.access(path, os.X_OK)]
    if missing:
        # Parts of two versions of Kubernetes do not mix, so the folder serves whole or not at all.
        logger.info("KUBEBUILDER_ASSETS=%s lacks %s: using this project's own binaries", folder, ", ".join(missing))
        return None
    return found


def _build(group: Group, names: list[str]) -> None:
    folder = group.folder
    logger.info(
        "Building %s %s (%s) from source, once: %s; into %s",
        group.module,
        group.version,
        ", ".join(names),
        group.cost,
        folder,
    )
    require_disk(folder, group.disk_gib, f"building {group.module}")
    go = find_go()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".build-") as scratch:
        # One output folder for several programs, a file name for a single `.`: its module's name is not the binary's.
        output = f"{scratch}/" if group is KUBE else f"{scratch}/{names[0]}"
        flags = ["-v", "-buildvcs=false", "-o", output, "-ldflags", _linker_flags(group)]
        run_long(
            f"building {group.module}",
            [str(go), "build", *flags, *group.targets(names)],
            paths.cache() / "bin" / f"{group.module}.log",
            cwd=group.sources,
            env={"GOTOOLCHAIN": "local"} | ({"CGO_ENABLED": "0"} if group is PAUSE else {}),
        )
        for name in names:
            (Path(scratch) / name).replace(folder / name)


def _linker_flags(group: Group) -> str:
    if group is not KUBE:
        return "-s -w"
    major, minor, _ = group.version.split(".")
    package = "k8s.io/component-base/version"
    stamps = {"gitVersion": f"v{group.version}", "gitMajor": major, "gitMinor": minor}
    return " ".join(["-s -w", *(f"-X {package}.{key}={value}" for key, value in stamps.items())])


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    folder = paths.cache() / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("Another process builds binaries in %s: waiting for it", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
