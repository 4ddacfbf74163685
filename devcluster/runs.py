"""Run folders: which clusters exist on this machine, who owns them, and which are stale.

A run belongs to the process that started it (`with Cluster()`), or to no process (`python -m devcluster up`), in which
case it lives as long as its processes do.
"""

import contextlib
import fcntl
import re
import shutil
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from devcluster import paths
from devcluster.errors import ClusterError
from devcluster.processes import Processes, ProcessId

_FILE = "run.json"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
# The longest socket path below a run folder is containerd's; the kernel takes 107 bytes.
_LONGEST_RUN_PATH = 80


class NodeKind(StrEnum):
    """How deep a cluster goes."""

    NONE = "none"
    PROCESS = "process"
    KUBELET = "kubelet"


class State(StrEnum):
    """What can be said of a run from its folder alone."""

    IN_USE = "in use"
    RUNNING = "running"
    BROKEN = "broken"
    STALE = "stale"


class Run(BaseModel):
    """One cluster, as written in its folder."""

    model_config = ConfigDict(frozen=True)
    name: str
    node: NodeKind
    owner: ProcessId | None
    folder: Path

    @property
    def kubeconfig(self) -> Path:
        """An administrator's kubeconfig."""
        return self.folder / "kubeconfig"

    @property
    def ledger(self) -> Path:
        """The simulated GPU of this cluster's node."""
        return self.folder / "gpu"

    @property
    def node_name(self) -> str:
        """The name of the node, which runs with a node have."""
        return f"gpu-{self.name}"

    @property
    def images_root(self) -> Path:
        """The folder, shared by all runs of this cache, in which containerd keeps images."""
        return self.folder.parents[1] / "containerd"

    def processes(self) -> Processes:
        """The processes of this run."""
        return Processes(self.folder)

    def state(self) -> State:
        """Look at owner and processes and say how the run is."""
        alive = [process.alive() for process in self.processes().all().values()]
        return judge(None if self.owner is None else self.owner.alive(), alive)

    def save(self) -> None:
        """Write the run into its folder, in one step."""
        scratch = self.folder / f".{_FILE}"
        scratch.write_text(self.model_dump_json())
        scratch.replace(self.folder / _FILE)

    def detached(self) -> "Run":
        """Return this run without an owner, saved: it is to outlive the process that started it."""
        run = self.model_copy(update={"owner": None})
        run.save()
        return run


def judge(owner_alive: bool | None, processes_alive: list[bool]) -> State:
    """Decide what a run is from whether its owner lives (None: it has no owner) and which of its processes do."""
    if owner_alive is not None:
        return State.IN_USE if owner_alive else State.STALE
    if not any(processes_alive):
        return State.STALE
    return State.RUNNING if all(processes_alive) else State.BROKEN


def create(name: str, node: NodeKind) -> Run:
    """Make the folder of a new run, owned by this process.

    Raises ClusterError when the name is malformed, in use, or its path too long.
    """
    if not _NAME.fullmatch(name):
        raise ClusterError(f"{name!r} cannot name a cluster: up to 40 lower-case letters, digits and inner dashes")
    run = Run(name=name, node=node, owner=ProcessId.own(), folder=paths.runs() / name)
    if len(str(run.folder)) > _LONGEST_RUN_PATH:
        raise ClusterError(f"{run.folder} is too long for the sockets below it: set GPU_RELAY_CACHE to a shorter path")
    with locked():
        if (run.folder / _FILE).exists():
            raise ClusterError(f"a cluster named {name} exists already: use another name, or end it with `down`")
        shutil.rmtree(run.folder, ignore_errors=True)
        run.folder.mkdir(parents=True, mode=0o755)
        run.save()
    return run


def load(name: str) -> Run | None:
    """Return the run of this name, None when there is none."""
    return load_from(paths.runs() / name)


def load_from(folder: Path) -> Run | None:
    """Return the run of this folder, None when there is none.

    Raises ClusterError when another version of this project wrote it.
    """
    file = folder / _FILE
    with contextlib.suppress(FileNotFoundError):
        try:
            return Run.model_validate_json(file.read_text())
        except ValidationError as error:
            raise ClusterError(f"{file} is not a run of this version: remove its folder ({error})") from error
    return None


def all_runs() -> list[Run]:
    """Return every run that has a folder."""
    found = [load_from(file.parent) for file in sorted(paths.runs().glob(f"*/{_FILE}"))]
    return [run for run in found if run is not None]


@contextlib.contextmanager
def locked(what: str = "folders") -> Iterator[None]:
    """Hold a lock of this cache: "folders", under which run folders come and go, or "teardown"."""
    paths.runs().mkdir(parents=True, exist_ok=True)
    with (paths.runs() / f".{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
