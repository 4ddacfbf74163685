"""Processes that outlive the one that started them, and are ended without ever touching a stranger.

A process is known by its id *and* its start time, since ids are used again. Every process of a run also carries the
run's folder in its environment (`GPU_RELAY_RUN`), and so do its children: that finds what no record names, such as the
containers' shims, or a process whose starter was killed before it could write the record down.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from devcluster.errors import ClusterError

MARK = "GPU_RELAY_RUN"
_POLL_SECONDS = 0.05
_EXEC_SECONDS = 5.0
_EXEC_POLL_SECONDS = 0.001


class ProcessId(BaseModel):
    """One process, distinct from any later one: its id and its start (boot id, and clock ticks since that boot)."""

    model_config = ConfigDict(frozen=True)
    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """Return the identity of a live process, None when there is none (a zombie counts as none)."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        # The second field is the command in brackets and may hold anything; state and start time follow it.
        fields = stat.rpartition(")")[2].split()
        state, ticks = fields[0], fields[19]
        return None if state in "ZX" else cls(pid=pid, started=f"{boot}/{ticks}")

    @classmethod
    def own(cls) -> "ProcessId":
        """Return the identity of the running process."""
        own = cls.of(os.getpid())
        if own is None:
            raise ClusterError("/proc is not mounted: the local cluster needs Linux; elsewhere use NODE=existing")
        return own

    def alive(self) -> bool:
        """Say whether this very process still runs."""
        return ProcessId.of(self.pid) == self

    def command(self) -> str:
        """Return the program that the process runs, empty when it has ended."""
        try:
            return Path(f"/proc/{self.pid}/exe").readlink().name
        except OSError:
            return ""

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Processes:
    """The named processes of one run; records lie in `<run>/processes`, output in `<run>/<name>.log`."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._records = run_dir / "processes"
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
        """Start a process in a session of its own, with the run folder as working directory."""
        self._records.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **(env or {}), MARK: str(self.run_dir)}
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(
                [str(part) for part in command],
                cwd=self.run_dir,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children[name] = child
        if identity := ProcessId.of(child.pid):
            (self._records / f"{name}.json").write_text(identity.model_dump_json())

    def log(self, name: str) -> Path:
        """Return the file that holds a process's output."""
        return self.run_dir / f"{name}.log"

    def all(self) -> dict[str, ProcessId]:
        """Return every recorded process by name, dead ones too."""
        found = {}
        for file in sorted(self._records.glob("*.json")):
            # A record cut short by a kill names no process; the mark in the environment still finds its process.
            with contextlib.suppress(ValidationError):
                found[file.stem] = ProcessId.model_validate_json(file.read_text())
        return found

    def dead(self) -> list[str]:
        """Return the names of recorded processes that have ended."""
        return [name for name, identity in self.all().items() if not identity.alive()]

    def wait_for(self, what: str, ready: Callable[[], bool], timeout: float, needs: Iterable[str]) -> None:
        """Poll until `ready()`; fail immediately, with the end of its log, when a process in `needs` has ended.

        `timeout` is in seconds.
        """
        deadline = time.monotonic() + timeout
        needs = list(needs)
        while not ready():
            for name in needs:
                self._check(name)
            if time.monotonic() > deadline:
                logs = "\n".join(self.tail(name) for name in needs)
                raise ClusterError(f"{what} was not ready within {timeout:.0f} s\n{logs}")
            time.sleep(_POLL_SECONDS)

    def _check(self, name: str) -> None:
        child = self._children.get(name)
        status = child.poll() if child else None
        known = self.all().get(name)
        if status is not None or known is None or not known.alive():
            outcome = "" if status is None else f" with status {status}"
            raise ClusterError(f"{name} ended{outcome}\n{self.tail(name)}")

    def tail(self, name: str, lines: int = 15) -> str:
        """Return the last lines of a process's output, with the file's name above them."""
        log = self.log(name)
        text = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n".join([f"--- {log}:", *text[-lines:]])

    def end(self, names: Iterable[str], grace: float = 0.0) -> None:
        """End processes by name, in parallel: SIGTERM, then SIGKILL after `grace` seconds; without grace, SIGKILL."""
        recorded = self.all()
        doomed = [recorded[name] for name in names if name in recorded]
        if grace:
            end_processes(doomed, signal.SIGTERM, grace)
        end_processes(doomed, signal.SIGKILL, 10.0)
        for child in self._children.values():
            child.poll()

    def end_rest(self) -> None:
        """Kill everything that carries this run's mark, until nothing does."""
        deadline = time.monotonic() + 20.0
        while found := marked(self.run_dir):
            if time.monotonic() > deadline:
                raise ClusterError(f"processes of {self.run_dir} do not end: {[p.pid for p in found]}")
            end_processes(found, signal.SIGKILL, 5.0)
        for child in self._children.values():
            child.poll()

    def forget_children(self) -> None:
        """Leave the processes to themselves: this process is about to end and they are to live on."""
        for child in self._children.values():
            child.returncode = 0  # else Popen warns that it still runs
        self._children.clear()


def end_processes(processes: Sequence[ProcessId], number: int, timeout: float) -> None:
    """Send a signal to every process and wait up to `timeout` seconds for all of them to end."""
    for process in processes:
        process.signal(number)
    deadline = time.monotonic() + timeout
    while any(process.alive() for process in processes) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def marked(folder: Path, variable: str = MARK) -> list[ProcessId]:
    """Return all live processes whose environment names this folder in a variable, but for the caller itself."""
    return [process for process, named in all_marked(variable).items() if named == str(folder)]


def all_marked(variable: str = MARK) -> dict[ProcessId, str]:
    """Return every live process that has a variable in its environment, with the folder that it names."""
    found = {}
    prefix = f"{variable}=".encode()
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        try:
            environment = _environment(process).split(b"\0")
        except OSError:
            continue
        marks = [entry.removeprefix(prefix).decode() for entry in environment if entry.startswith(prefix)]
        if marks and (identity := ProcessId.of(int(process.name))):
            found[identity] = marks[0]
    return found


def _environment(process: Path) -> bytes:
    """Read a process's environment, once it has one: while a program is loaded (execve), the kernel shows it empty.

    The arguments are empty then, too, and there is a program, which kernel threads and zombies lack. Raises OSError.
    """
    deadline = time.monotonic() + _EXEC_SECONDS
    while not (environment := (process / "environ").read_bytes()) and time.monotonic() < deadline:
        if (process / "cmdline").read_bytes():
            break
        (process / "exe").readlink()
        time.sleep(_EXEC_POLL_SECONDS)
    return environment
