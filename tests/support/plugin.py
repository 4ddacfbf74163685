"""`kubectl relay` as a user runs it: kubectl finds the executables on PATH, as the wheel would install them."""

import os
import pty
import signal
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from devcluster.kubectl import find_kubectl
from devcluster.paths import REPOSITORY
from devcluster.scripted.trainer import ScriptedTrainer
from devcluster.scripted.world import World
from devcluster.waiting import eventually

_WIDE = "240"
_TERMINAL = "110"


@dataclass(frozen=True)
class Done:
    """The result of a command."""

    code: int
    out: str
    err: str


class Plugin:
    """Runs `kubectl relay …` with a kubeconfig."""

    def __init__(self, folder: Path, kubeconfig: Path) -> None:
        """`folder` gets the executables."""
        install(folder)
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "NO_COLOR"},
            "COLUMNS": _WIDE,
            "PATH": f"{folder}:{find_kubectl().parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY / "operator"),
            "KUBECONFIG": str(kubeconfig),
            "TZ": "UTC",
            "TERM": "xterm-256color",
        }

    def __call__(self, *arguments: str, **environment: str) -> Done:
        """Run it to its end, in pipes and without a terminal to answer on."""
        with self.start(*arguments, **environment) as process:
            out, err = process.communicate(timeout=60)
        return Done(process.returncode, out, err)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start it with pipes."""
        return subprocess.Popen(
            ["kubectl", "relay", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**self._environment, **environment}, preexec_fn=_interruptible,
        )  # fmt: skip

    def on_a_terminal(self, *arguments: str, typed: str = "", until: str = "", **environment: str) -> Done:
        """Run it on a terminal of its own, with typed input; `out` is all that it printed.

        It runs to its end, or until it has printed `until`: then it is interrupted, as with Ctrl-C.
        """
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            ["kubectl", "relay", *arguments], stdin=theirs, stdout=theirs, stderr=theirs,
            env={**self._environment, "COLUMNS": _TERMINAL, **environment}, preexec_fn=_interruptible,
        )  # fmt: skip
        os.close(theirs)
        os.write(ours, typed.encode())
        seen = b""
        while part := _read(ours):
            seen += part
            if until and until in seen.decode(errors="ignore"):
                process.send_signal(signal.SIGINT)
                until = ""
        os.close(ours)
        return Done(process.wait(60), seen.decode(), "")

    def completes(self, *words: str) -> list[str]:
        """Return what kubectl's own completion offers for the words after `kubectl relay`, and its directive."""
        done = subprocess.run(
            ["kubectl", "__complete", "relay", *words], capture_output=True, text=True, timeout=60, check=True,
            env=self._environment,
        )  # fmt: skip
        return [line.split("\t")[0] for line in done.stdout.splitlines() if not line.startswith("[Debug]")]


def install(folder: Path) -> None:
    """Write the plugin's entry points as executables, as an installer of the wheel does."""
    folder.mkdir(parents=True, exist_ok=True)
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    for name, target in scripts.items():
        if name.startswith("kubectl"):
            module, function = target.split(":")
            file = folder / name
            file.write_text(f"#!{sys.executable}\nfrom {module} import {function}\n{function}()\n")
            file.chmod(0o755)


def trains(world: World, trainer: ScriptedTrainer, job: str) -> None:
    """Run a job's first training pod, until the operator has read its progress."""
    world.shows_pod(f"{job}-1")
    world.bind_pod(f"{job}-1", "node-1")
    world.run_pod(f"{job}-1", ip=trainer.ip)
    eventually(lambda: world.job(job)["status"].get("progress"), f"progress of {job}")


def _interruptible() -> None:
    """Restore SIGINT, which a shell ignores in what it runs in the background, and so these tests inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _read(terminal: int) -> bytes:
    """Read from a terminal; nothing once its other side is closed, which Linux reports as an error."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""
