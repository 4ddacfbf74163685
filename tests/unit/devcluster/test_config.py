import json
import tomllib
from pathlib import Path

import pytest

from devcluster import controlplane, host, kubelet, node_config
from devcluster.controlplane import Addresses

RUN = Path("/var/cache/gpu-relay/run/dev")
LOOPBACK = Addresses("127.0.0.1", 6443, 2379, 2380)


def test_containerd_keeps_only_images_outside_the_run() -> None:
    text = node_config.containerd_config(RUN, Path("/images"), Path("/opt/cni/bin"), "localhost/pause:1")
    config = tomllib.loads(text)
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    assert config["root"] == "/images"
    assert config["state"].startswith(str(RUN))
    assert config["grpc"]["address"] == str(node_config.socket(RUN))
    assert cri["sandbox_image"] == "localhost/pause:1"
    assert cri["restrict_oom_score_adj"] is True
    assert cri["netns_mounts_under_state_dir"] is True
    assert cri["cni"]["bin_dir"] == "/opt/cni/bin"
    assert cri["containerd"]["runtimes"]["runc"]["options"]["Root"] == f"{RUN}/runc"


def test_pods_are_on_the_projects_bridge() -> None:
    bridge, portmap = json.loads(node_config.cni_config(RUN))["plugins"]
    assert bridge["bridge"] == host.BRIDGE
    assert bridge["ipam"]["ranges"] == [[{"subnet": host.SUBNET, "gateway": host.GATEWAY}]]
    assert portmap["type"] == "portmap"


def test_the_kubelet_is_confined_to_the_bridge_and_its_run() -> None:
    config = json.loads(node_config.kubelet_config(RUN))
    assert config["address"] == host.GATEWAY
    assert config["healthzPort"] == 0
    assert config["authentication"]["anonymous"]["enabled"] is False
    assert config["podLogsDir"].startswith(str(RUN))
    assert config["volumePluginDir"].startswith(str(RUN))
    assert f"--root-dir={RUN}/kubelet" in kubelet.kubelet_flags(RUN, "gpu-dev")


def test_kube_proxy_changes_no_host_wide_setting() -> None:
    config = json.loads(node_config.proxy_config(RUN, "gpu-dev"))
    assert config["iptables"]["localhostNodePorts"] is False
    assert config["conntrack"]["maxPerCore"] == 0
    assert config["hostnameOverride"] == "gpu-dev"
    for address in ("healthzBindAddress", "metricsBindAddress"):
        assert config[address].startswith("127.0.0.1:")


def test_the_api_server_listens_on_the_given_address() -> None:
    flags = controlplane.apiserver_flags(LOOPBACK)
    assert {"--bind-address=127.0.0.1", "--secure-port=6443", "--etcd-servers=http://127.0.0.1:2379"} <= set(flags)
    assert "--endpoint-reconciler-type=none" in flags
    bridge = controlplane.apiserver_flags(Addresses(host.GATEWAY, 6443, 2379, 2380))
    assert f"--bind-address={host.GATEWAY}" in bridge
    assert "--etcd-servers=http://127.0.0.1:2379" in bridge
    assert "--endpoint-reconciler-type=none" not in bridge


def test_etcd_listens_on_loopback_only() -> None:
    urls = [flag.partition("=")[2] for flag in controlplane.etcd_flags(LOOPBACK) if "urls=" in flag]
    assert len(urls) == 4
    assert all(url.startswith("http://127.0.0.1:") for url in urls)


@pytest.mark.parametrize("flags", [controlplane.controller_manager_flags(), controlplane.scheduler_flags()])
def test_controllers_serve_no_port(flags: list[str]) -> None:
    assert "--secure-port=0" in flags


def test_free_ports_differ() -> None:
    addresses = Addresses.free("127.0.0.1")
    assert len({addresses.api, addresses.etcd, addresses.etcd_peer}) == 3
    assert addresses.server == f"https://127.0.0.1:{addresses.api}"
