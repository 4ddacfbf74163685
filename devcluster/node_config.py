"""The configuration files of containerd, CNI, kubelet and kube-proxy, as pure functions of where things lie."""

import json
from pathlib import Path
from typing import Any

from devcluster.host import BRIDGE, CNI_NETWORK, GATEWAY, SUBNET

KUBELET_PORT = 10250
PROXY_HEALTH = "127.0.0.1:10256"
_PROXY_METRICS = "127.0.0.1:10249"


def containerd_config(run_dir: Path, root: Path, cni_bin: Path, pause_image: str) -> str:
    """Return containerd's configuration: images in `root` outlive the run, everything else is in `run_dir`."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    # restrict_oom_score_adj: where the kernel forbids lowering oom_score_adj, runc would fail on every pod.
    return f"""\
version = 2
root = "{root}"
state = "{run_dir}/containerd"
[grpc]
address = "{socket(run_dir)}"
[{cri}]
sandbox_image = "{pause_image}"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[{cri}.cni]
bin_dir = "{cni_bin}"
conf_dir = "{run_dir}/cni"
[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.runc.options]
Root = "{run_dir}/runc"
"""


def socket(run_dir: Path) -> Path:
    """Return containerd's socket."""
    return run_dir / "containerd.sock"


def cni_config(run_dir: Path) -> str:
    """Return the pods' network: the project's bridge."""
    ipam = {
        "type": "host-local",
        "dataDir": str(run_dir / "ipam"),
        "ranges": [[{"subnet": SUBNET, "gateway": GATEWAY}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "hairpinMode": True, "ipam": ipam}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "1.0.0", "name": CNI_NETWORK, "plugins": [bridge, portmap]}, indent=1)


def kubelet_config(run_dir: Path) -> str:
    """Return the kubelet's configuration (JSON, which is YAML)."""
    config: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": GATEWAY,
        "port": KUBELET_PORT,
        "healthzPort": 0,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(run_dir / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{socket(run_dir)}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        # The size of a container's layer cannot be measured on every disk; without this the kubelet would not start.
        "localStorageCapacityIsolation": False,
        "resolvConf": "",
        "podLogsDir": str(run_dir / "pod-logs"),
        "volumePluginDir": str(run_dir / "volume-plugins"),
        # A developer's disk is fuller than a server's; images stay, they cost minutes to import.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }
    return json.dumps(config, indent=1)


def proxy_config(run_dir: Path, node_name: str) -> str:
    """Return kube-proxy's configuration (JSON, which is YAML): service addresses by iptables, no host-wide settings."""
    config: dict[str, Any] = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(run_dir / "proxy.kubeconfig")},
        "mode": "iptables",
        "hostnameOverride": node_name,
        "clusterCIDR": SUBNET,
        "healthzBindAddress": PROXY_HEALTH,
        "metricsBindAddress": _PROXY_METRICS,
        "iptables": {"localhostNodePorts": False},
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
    return json.dumps(config, indent=1)
