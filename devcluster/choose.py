"""Which node a cluster gets by default, and the reason in one sentence."""

import os
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

from devcluster import host, node_config, packages, paths
from devcluster.errors import ClusterError
from devcluster.images import FIRST_USE_GIB
from devcluster.progress import require_disk
from devcluster.runs import NodeKind

#: The environment variable that overrides the choice.
VARIABLE = "NODE"
EXISTING = "existing"

_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}


@dataclass(frozen=True)
class Facts:
    """What was seen of this machine."""

    linux: bool = True
    root: bool = True
    lacking_capabilities: tuple[str, ...] = ()
    cgroups_writable: bool = True
    missing_packages: tuple[str, ...] = ()
    can_install: bool = True
    foreign_kubelet: bool = False
    lacking_disk: str = ""


@dataclass(frozen=True)
class Choice:
    """A node and the reason for it."""

    node: NodeKind
    reason: str = field(compare=False)

    def __str__(self) -> str:
        return f"node: {self.node} ({self.reason})"


def obstacles(facts: Facts) -> list[str]:
    """Return every reason why a kubelet cannot run here, empty when it can."""
    if not facts.linux:
        return ["a kubelet needs Linux"]
    if not facts.root:
        return ["a kubelet needs root"]
    found = []
    if facts.lacking_capabilities:
        found.append(f"this root lacks {', '.join(facts.lacking_capabilities)} (an unprivileged container?)")
    if not facts.cgroups_writable:
        found.append("/sys/fs/cgroup is read-only")
    if facts.missing_packages and not facts.can_install:
        found.append(f"the packages {', '.join(facts.missing_packages)} are missing and there is no apt-get")
    if facts.foreign_kubelet:
        found.append(f"another kubelet listens on port {node_config.KUBELET_PORT}")
    if facts.lacking_disk:
        found.append(facts.lacking_disk)
    return found


def choose(requested: str | None, facts: Facts) -> Choice:
    """Choose the node: what was asked for, else a kubelet wherever one can run, else processes.

    Raises ClusterError when what was asked for is unknown or cannot run here.
    """
    found = obstacles(facts)
    if not requested or requested == "auto":
        if found:
            return Choice(NodeKind.PROCESS, f"no kubelet here: {'; '.join(found)}")
        return Choice(NodeKind.KUBELET, "root on Linux, with all that a kubelet needs")
    try:
        node = NodeKind(requested)
    except ValueError:
        known = ", ".join([*NodeKind, "auto", EXISTING])
        raise ClusterError(f"{VARIABLE}={requested} is not known: use one of {known}") from None
    if node is NodeKind.KUBELET and found:
        raise ClusterError(f"{VARIABLE}=kubelet cannot run here: {'; '.join(found)}. Use {VARIABLE}=process")
    return Choice(node, f"{VARIABLE}={requested} was asked for")


def look() -> Facts:
    """Look at this machine."""
    if sys.platform != "linux":
        return Facts(linux=False)
    return Facts(
        root=os.geteuid() == 0,
        lacking_capabilities=tuple(
            name for name, bit in _CAPABILITIES.items() if not effective(_capabilities()) >> bit & 1
        ),
        cgroups_writable=any(
            os.access(f"/sys/fs/cgroup/{name}", os.W_OK) for name in ("memory", "cgroup.subtree_control")
        ),
        missing_packages=tuple(packages.missing_packages(packages.NODE_TOOLS, cni=True)),
        can_install=packages.can_install(),
        foreign_kubelet=not host.has_bridge() and _listens(node_config.KUBELET_PORT),
        lacking_disk=_lacking_disk(),
    )


def effective(status: str) -> int:
    """Return the effective capabilities, as a bit mask, of a /proc/<pid>/status text."""
    line = next((line for line in status.splitlines() if line.startswith("CapEff:")), "CapEff: 0")
    return int(line.split()[1], 16)


def _capabilities() -> str:
    return Path("/proc/self/status").read_text()


def _lacking_disk() -> str:
    if (paths.cache() / "containerd").exists():
        return ""  # the images are there, or were; what has changed since is small
    try:
        require_disk(paths.cache(), FIRST_USE_GIB, "building and importing the images")
    except ClusterError as error:
        return str(error)
    return ""


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
