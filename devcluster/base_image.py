"""The base image `debian:trixie-slim`: from a registry where one can be reached, else made with debootstrap."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from devcluster import paths
from devcluster.host import run
from devcluster.packages import find_tool
from devcluster.progress import logger, run_long

NAME = "debian:trixie-slim"
_SUITE = "trixie"
_PULL_SECONDS = 60.0
# As in the image of the registries: packages that were installed are not kept as archives beside themselves.
_APT_CONF = 'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };\n'


def ensure(buildah: Sequence[str], policy: Path) -> None:
    """Have the base image in buildah's store."""
    if run(*buildah, "images", "--quiet", "--filter", f"reference={NAME}", check=False).strip():
        return
    if _pull(buildah, policy):
        return
    logger.info("No registry has %s for this machine: making it with debootstrap (half a minute, 130 MB)", NAME)
    _make(buildah, policy, NAME)


def _make(buildah: Sequence[str], policy: Path, name: str) -> None:
    container = run(*buildah, "from", "scratch").strip()
    try:
        root = Path(run(*buildah, "mount", container).strip())
        debootstrap = [find_tool("debootstrap") or "debootstrap", "--variant=minbase", _SUITE, str(root)]
        run_long("debootstrap", debootstrap, paths.cache() / "debootstrap.log")
        (root / "etc/apt/apt.conf.d/docker-clean").write_text(_APT_CONF)
        for folder in ("var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(root / folder, ignore_errors=True)
            (root / folder).mkdir()
        for file in [*(root / "var/log").rglob("*.log"), root / "var/cache/ldconfig/aux-cache"]:  # they know the time
            file.unlink(missing_ok=True)
        run(*buildah, "umount", container)
        run(*buildah, "config", "--cmd", "bash", container)
        run(*buildah, "commit", "--quiet", "--timestamp=0", "--signature-policy", policy, container, name)
    finally:
        run(*buildah, "rm", container, check=False)


def _pull(buildah: Sequence[str], policy: Path) -> bool:
    command = [*buildah, "pull", "--quiet", "--signature-policy", str(policy), NAME]
    try:
        return subprocess.run(command, capture_output=True, timeout=_PULL_SECONDS, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False
