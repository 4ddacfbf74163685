"""The programs that a kubelet's node and image builds need, from Debian's packages where they are missing."""

import os
import shutil
from pathlib import Path

from devcluster import paths
from devcluster.errors import ClusterError
from devcluster.progress import logger, run_long

#: Program -> the Debian package that has it.
NODE_TOOLS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "iptables": "iptables",
    "iptables-restore": "iptables",
    "conntrack": "conntrack",
    "umount": "mount",
}
IMAGE_TOOLS = {"buildah": "buildah", "debootstrap": "debootstrap"}
_CNI_PLUGINS = ("bridge", "host-local", "loopback", "portmap")
_CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
_CNI_PACKAGE = "containernetworking-plugins"
_SYSTEM_PATH = "/usr/sbin:/sbin"


def find_tool(name: str) -> str | None:
    """Return the path of a program, also where root's folders are not on PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATH}")


def cni_folder() -> Path | None:
    """Return the folder that holds the CNI plugins the node uses, None where there is none."""
    return next((f for f in _CNI_FOLDERS if all((f / plugin).exists() for plugin in _CNI_PLUGINS)), None)


def missing_packages(tools: dict[str, str], *, cni: bool = False) -> list[str]:
    """Return the Debian packages that lack, in order, each once."""
    missing = [package for tool, package in tools.items() if find_tool(tool) is None]
    if cni and cni_folder() is None:
        missing.append(_CNI_PACKAGE)
    return list(dict.fromkeys(missing))


def can_install() -> bool:
    """Say whether packages can be installed: root, with apt."""
    return os.geteuid() == 0 and find_tool("apt-get") is not None


def ensure(tools: dict[str, str], *, cni: bool = False) -> None:
    """Install what is missing.

    Raises ClusterError with the command to run where this process may not install.
    """
    missing = missing_packages(tools, cni=cni)
    if not missing:
        return
    if not can_install():
        raise ClusterError(f"missing: {', '.join(missing)}. Run: sudo apt-get install {' '.join(missing)}")
    logger.info("Installing Debian packages: %s (about 100 MB, under a minute)", ", ".join(missing))
    log, environment = paths.cache() / "apt.log", {"DEBIAN_FRONTEND": "noninteractive"}
    run_long("apt-get update", ["apt-get", "update"], log, env=environment)
    run_long("apt-get install", ["apt-get", "install", "-y", "--no-install-recommends", *missing], log, env=environment)
    if lacking := missing_packages(tools, cni=cni):
        raise ClusterError(f"{', '.join(lacking)} installed, but their programs were not found: see {log}")
