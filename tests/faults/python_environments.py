"""Python environments for servers and clients of tests, each apart from the tests' own and made on first use."""

import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

from devcluster import paths


def python_environment(name: str) -> Path:
    """Return an environment, installed from its locked requirements in `requirements/<name>.txt`."""
    requirements = paths.REPOSITORY / "requirements" / f"{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = paths.cache() / f"{name}-{digest}"
    if not (folder / ".complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--require-hashes", "--only-binary", ":all:"]
        subprocess.run([*pip, "--requirement", str(requirements)], check=True, env=without_pythonpath())
        (folder / ".complete").touch()
    return folder


def without_pythonpath() -> dict[str, str]:
    """Return the environment variables for a process of another Python environment."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def free_port() -> int:
    """Return a port of the loopback address that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
