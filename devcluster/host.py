"""What a kubelet's node changes on its machine outside the run's folder, and how each change is taken back.

bridge interface, kernel settings, iptables chains, mounts, pod cgroups, CNI's results, links in /var/log/containers
"""

import contextlib
import json
import shutil
import subprocess
from pathlib import Path

from devcluster.errors import ClusterError

BRIDGE = "gpu-relay0"
GATEWAY = "10.244.0.1"
SUBNET = "10.244.0.0/24"
CNI_NETWORK = "gpu-relay"

_SYSCTLS = (
    "net/ipv4/ip_forward",
    "vm/overcommit_memory",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_SAVED = "sysctls.json"
_TABLES = ("filter", "nat", "mangle")


def run(*command: str | Path, check: bool = True) -> str:
    """Run a short command and return its output.

    Raises ClusterError with the command's own words when it fails and `check` is set.
    """
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise ClusterError(f"{' '.join(str(part) for part in command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def add_bridge() -> None:
    """Make the pods' bridge, with the gateway's address, on which API server and kubelet listen.

    Raises ClusterError when another interface has an address in the pods' range.
    """
    taken = [link["ifname"] for link in json.loads(run("ip", "-json", "-4", "address", "show", "to", "10.244.0.0/16"))]
    if others := [name for name in taken if name != BRIDGE]:
        raise ClusterError(
            f"{SUBNET} is in use by {', '.join(others)}: another Kubernetes on this machine? End it first"
        )
    if not has_bridge():
        run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "replace", f"{GATEWAY}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")


def has_bridge() -> bool:
    """Say whether the bridge exists."""
    return Path(f"/sys/class/net/{BRIDGE}").exists()


def remove_bridge() -> None:
    """Remove the bridge; what pods left of their interfaces went with their network namespaces."""
    if has_bridge():
        run("ip", "link", "delete", BRIDGE)


def save_sysctls(run_dir: Path) -> None:
    """Write down the kernel settings that kubelet and CNI are about to change."""
    saved = {
        key: (Path("/proc/sys") / key).read_text().strip() for key in _SYSCTLS if (Path("/proc/sys") / key).exists()
    }
    (run_dir / _SAVED).write_text(json.dumps(saved))


def restore_sysctls(run_dir: Path) -> None:
    """Put the kernel settings back."""
    file = run_dir / _SAVED
    if not file.exists():
        return
    for key, value in json.loads(file.read_text()).items():
        setting = Path("/proc/sys") / key
        if setting.read_text().strip() != value:
            setting.write_text(value)


def mounts_under(*folders: Path, table: Path = Path("/proc/self/mounts")) -> list[str]:
    """Return the mount points below these folders, innermost first."""
    points = [_unescape(line.split(" ")[1]) for line in table.read_text().splitlines()]
    below = [point for point in points if any(Path(point).is_relative_to(folder) for folder in folders)]
    return sorted(below, key=lambda point: point.count("/"), reverse=True)


def unmount(*folders: Path) -> None:
    """Unmount everything below these folders."""
    for point in mounts_under(*folders):
        run("umount", "--lazy", point, check=False)


def kube_chains() -> list[str]:
    """Return `table chain` for every iptables chain of kubelet and kube-proxy."""
    found = []
    for table in _TABLES:
        found += [f"{table} {line[1:].split()[0]}" for line in _rules(table) if line.startswith(":KUBE-")]
    return found


def _rules(table: str) -> list[str]:
    # Where the tool was never installed, no node of this project has run.
    return run("iptables-save", "-t", table, check=False).splitlines() if shutil.which("iptables-save") else []


def remove_kube_chains() -> None:
    """Remove every KUBE chain and the rules that lead to one."""
    for table in _TABLES:
        rules = [rule for rule in _rules(table) if "KUBE-" in rule]
        if not rules:
            continue
        chains = [rule[1:].split()[0] for rule in rules if rule.startswith(":KUBE-")]
        jumps = [rule for rule in rules if rule.startswith("-A ") and not rule.startswith("-A KUBE-")]
        lines = [
            f"*{table}",
            *(f"-D {jump.removeprefix('-A ')}" for jump in jumps),
            *(f"-F {chain}" for chain in chains),
            *(f"-X {chain}" for chain in chains),
            "COMMIT\n",
        ]
        # One transaction: the chains refer to one another.
        done = subprocess.run(
            ["iptables-restore", "--noflush", "--wait", "5"],
            input="\n".join(lines),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ClusterError(f"iptables chains of table {table} could not be removed: {done.stderr.strip()}")


def remove_pod_cgroups(pod_uids: list[str], root: Path = Path("/sys/fs/cgroup")) -> None:
    """Remove the cgroups of these pods, then the kubelet's own where no other kubelet has pods in them."""
    for hierarchy in [root, *(folder for folder in root.glob("*") if folder.is_dir() and folder.name != "kubepods")]:
        parents = [hierarchy / "kubepods" / name for name in ("besteffort", "burstable", "")]
        for pod in (parent / f"pod{uid}" for uid in pod_uids for parent in parents):
            for folder in sorted((path for path in pod.rglob("*") if path.is_dir()), reverse=True):
                _rmdir(folder)
            _rmdir(pod)
        for parent in parents:
            _rmdir(parent)


def remove_cni_results(folder: Path = Path("/var/lib/cni/results")) -> None:
    """Remove what CNI remembers of pods in this project's network."""
    for result in folder.glob(f"{CNI_NETWORK}-*"):
        container = result.name.removeprefix(f"{CNI_NETWORK}-").partition("-")[0]
        for same_pod in folder.glob(f"*-{container}-*"):  # its loopback interface has a file of its own
            same_pod.unlink()
    _rmdir(folder)
    _rmdir(folder.parent)


def remove_log_links(run_dir: Path, folder: Path = Path("/var/log/containers")) -> None:
    """Remove the links to this run's container logs that the kubelet made."""
    for link in folder.glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(run_dir):
            link.unlink()
    _rmdir(folder)


def _rmdir(folder: Path) -> None:
    with contextlib.suppress(OSError):  # it is not there, or another process still uses it
        folder.rmdir()


def _unescape(point: str) -> str:
    """Undo the octal escapes of /proc/mounts (a space is `\\040`)."""
    return point.encode().decode("unicode_escape").encode("latin-1").decode()
