"""The programs of the cluster: found where `KUBEBUILDER_ASSETS` points, else built once from pinned Go modules.

Each Go module under `go/` is one group; a group's folder in the cache is named after its version and a hash of its
files, so that a changed go.mod is built again and an old checkout still finds its own.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from devcluster import paths, versions
from devcluster.errors import ClusterError
from devcluster.go_tool import find_go
from devcluster.progress import logger, require_disk, run_long


@dataclass(frozen=True)
class Group:
    """One Go module and what building it costs (measured on two cores, with cold caches)."""

    module: str
    version: str
    cost: str
    disk_gib: float
    upstream: str = ""
    """The module whose `cmd/<name>` are built; empty where the program is the module itself."""
    stamp: str = ""
    """Further flags for the linker: the version that the programs report."""

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
        return [f"{self.upstream}/cmd/{name}" for name in names] if self.upstream else ["."]


def _kubernetes_stamp() -> str:
    major, minor, _ = versions.KUBERNETES.split(".")
    stamps = {"gitVersion": f"v{versions.KUBERNETES}", "gitMajor": major, "gitMinor": minor}
    return " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in stamps.items())


KUBE = Group(
    "kube",
    versions.KUBERNETES,
    "about 6 minutes on 2 cores, 4 GB in Go's caches and 0.5 GB here",
    5.0,
    "k8s.io/kubernetes",
    _kubernetes_stamp(),
)
ETCD = Group("etcd", versions.ETCD, "about 40 seconds, 30 MB", 1.0)
PAUSE = Group("pause", "1", "a few seconds", 0.5)
KUEUE = Group(
    "kueue",
    versions.KUEUE,
    "about 5 minutes on 2 cores, 2 GB in Go's caches and 0.1 GB here",
    3.0,
    "sigs.k8s.io/kueue",
    f"-X sigs.k8s.io/kueue/pkg/version.GitVersion=v{versions.KUEUE}",
)
KWOK = Group("kwok", versions.KWOK, "about 2 minutes on 2 cores, 1 GB in Go's caches", 2.0, "sigs.k8s.io/kwok")
GITOPS = Group("gitops", versions.KSTATUS, "about 1 minute on 2 cores, 0.3 GB in Go's caches", 1.0)
PROMQL = Group("promql", versions.PROMETHEUS, "about 20 seconds on 2 cores, 0.1 GB in Go's caches", 0.5)
ARGO_CD = Group(
    "argocd", versions.ARGO_CD, "0.3 GB in Go's caches; only its sources", 0.5, "github.com/argoproj/argo-cd/v3"
)
"""Has no binaries: its CRDs check the samples."""
_GENERATED = ("kubernetes", "informers", "listers", "applyconfigurations")
_COMPILER = (
    "-gcflags=all=-dwarf=false",  # the linker would drop what debuggers need
    *(f"-gcflags=k8s.io/client-go/{package}/...=-dwarf=false -N -l" for package in _GENERATED),
)
"""What makes cold builds shorter: no debug information, and no optimization of a quarter of the code, the generated
clients, which only forward calls."""
_GOGC = "400"
"""The compiler, a short process for each package, collects garbage less often: about 1 GB at most."""
_GROUPS = {"pause": PAUSE, "etcd": ETCD, "kueue": KUEUE, "kwok": KWOK, "gitops": GITOPS, "promql": PROMQL}


def group_of(name: str) -> Group:
    """Return the group that builds this binary."""
    return _GROUPS.get(name, KUBE)


def is_built(name: str) -> bool:
    """Say whether a binary of this version is in the cache."""
    return (group_of(name).folder / name).exists()


def upstream_folder(group: Group) -> Path:
    """Return the folder with the sources of a group's upstream module, which also holds its manifests.

    Raises ClusterError where Go cannot get it.
    """
    done = subprocess.run(
        [find_go(), "mod", "download", "-json", group.upstream],
        cwd=group.sources,
        env={**os.environ, "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ClusterError(f"the sources of {group.upstream} cannot be had: {done.stderr.strip() or done.stdout}")
    return Path(json.loads(done.stdout)["Dir"])


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
        for group in (*_GROUPS.values(), KUBE):
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
        output = f"{scratch}/" if group.upstream else f"{scratch}/{names[0]}"
        flags = ["-v", "-buildvcs=false", "-o", output, *_COMPILER, "-ldflags", f"-s -w {group.stamp}".rstrip()]
        run_long(
            f"building {group.module}",
            [str(go), "build", *flags, *group.targets(names)],
            paths.cache() / "bin" / f"{group.module}.log",
            cwd=group.sources,
            env={"GOTOOLCHAIN": "local", "GOGC": _GOGC} | ({"CGO_ENABLED": "0"} if group is PAUSE else {}),
        )
        for name in names:
            (Path(scratch) / name).replace(folder / name)


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
