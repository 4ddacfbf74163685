"""The node with a real kubelet: bridge, containerd, kubelet, kube-proxy; and taking all of it away again.

prepare: bridge up, settings saved ──► (control plane on the bridge) ──► start: containerd ──► kubelet, kube-proxy
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from devcluster import host, node_config
from devcluster.containerd import NAME as CONTAINERD
from devcluster.containerd import Containerd
from devcluster.controlplane import api_client, node_ready
from devcluster.errors import ClusterError
from devcluster.processes import Processes
from devcluster.runs import Run

#: As many pods as share one GPU: the resident and one training pod, as a time-sliced device plugin would advertise it.
GPU_SHARES = 2
_START_SECONDS = 120.0
_GRACE_SECONDS = 5.0
_KUBELET, _PROXY = "kubelet", "kube-proxy"


class KubeletNode:
    """The one kubelet node of this machine, for one run."""

    def __init__(self, run: Run, processes: Processes, binaries: Mapping[str, Path]) -> None:
        self._run = run
        self._dir = run.folder
        self._processes = processes
        self._binaries = binaries
        self.containerd = Containerd(run.folder, run.images_root, processes)

    def prepare(self) -> None:
        """Make the bridge, on whose address the control plane is to listen."""
        host.save_sysctls(self._dir)
        host.add_bridge()

    def start(self) -> None:
        """Start the node and return when it is ready, service addresses work, and it has a GPU."""
        (self._dir / "cni").mkdir()
        (self._dir / "cni" / "10-bridge.conflist").write_text(node_config.cni_config(self._dir))
        (self._dir / "kubelet.json").write_text(node_config.kubelet_config(self._dir))
        (self._dir / "proxy.json").write_text(node_config.proxy_config(self._dir, self._run.node_name))
        self.containerd.start(self._binaries["pause"])
        self._processes.start(_KUBELET, [self._binaries["kubelet"], *kubelet_flags(self._dir, self._run.node_name)])
        self._processes.start(_PROXY, [self._binaries["kube-proxy"], "--config=proxy.json"])
        needs = (CONTAINERD, _KUBELET, _PROXY)
        with api_client(self._dir) as client:
            self._processes.wait_for("the node", lambda: node_ready(client, self._run.node_name), _START_SECONDS, needs)
            self._add_gpu(client)
        self._processes.wait_for("kube-proxy", _proxy_synced, _START_SECONDS, needs)

    def _add_gpu(self, client: httpx.Client) -> None:
        shares = str(GPU_SHARES)
        patch = [
            {"op": "add", "path": f"/status/{kind}/nvidia.com~1gpu", "value": shares}
            for kind in ("capacity", "allocatable")
        ]
        answer = client.patch(
            f"/api/v1/nodes/{self._run.node_name}/status",
            json=patch,
            headers={"Content-Type": "application/json-patch+json"},
        )
        if not answer.is_success:
            raise ClusterError(f"the node's GPU could not be advertised: {answer.text}")


def kubelet_flags(run_dir: Path, node_name: str) -> list[str]:
    """Return the kubelet's flags; everything else is in its configuration file."""
    return [
        "--config=kubelet.json",
        "--kubeconfig=node.kubeconfig",
        f"--root-dir={run_dir}/kubelet",
        f"--cert-dir={run_dir}/kubelet-pki",
        f"--hostname-override={node_name}",
        f"--node-ip={host.GATEWAY}",
    ]


def tear_down_steps(run: Run, processes: Processes) -> list[Callable[[], None]]:
    """Return the steps, in order, that take the node's part of a run away; the control plane may be up or gone."""
    pods = [folder.name for folder in (run.folder / "kubelet" / "pods").glob("*")]
    return [
        lambda: processes.end((_KUBELET, _PROXY), _GRACE_SECONDS),
        Containerd(run.folder, run.images_root, processes).stop,
        lambda: host.unmount(run.folder, run.images_root),
        host.remove_kube_chains,
        lambda: host.remove_pod_cgroups(pods),
        host.remove_cni_results,
        lambda: host.remove_log_links(run.folder),
        lambda: host.restore_sysctls(run.folder),
        host.remove_bridge,
    ]


def leftovers(run: Run) -> list[str]:
    """Return a sentence for everything of the node that is still on the machine."""
    mounts = host.mounts_under(run.folder, run.images_root)
    return [f"{point} is still mounted" for point in mounts] + machine_leftovers()


def machine_leftovers() -> list[str]:
    """Return a sentence for everything that a node changes outside its run's folder and that is still there."""
    found = [f"iptables chain {chain} is still there" for chain in host.kube_chains()]
    if host.has_bridge():
        found.append(f"interface {host.BRIDGE} is still there")
    return found


def _proxy_synced() -> bool:
    try:
        return httpx.get(f"http://{node_config.PROXY_HEALTH}/healthz", trust_env=False).is_success
    except httpx.TransportError:
        return False
