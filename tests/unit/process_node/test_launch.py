"""Addresses, defaults of the environment, and the kubeconfig that pods get."""

import ipaddress
import json
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from devcluster.process_node.environment import Facts
from devcluster.process_node.launch import Launch, Place, kubeconfig, pod_address, wants_gpu
from devcluster.process_node.mounts import Mount, Mounts
from devcluster.process_node.settings import NodeSettings

POD: dict[str, Any] = {"metadata": {"name": "p", "namespace": "ns", "uid": "12345678-9"}, "spec": {}}
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def launch(tmp_path: Path, container: dict[str, Any], mounts: Mounts | None = None) -> Launch:
    settings = NodeSettings("node-1", tmp_path / "run", ledger=tmp_path / "gpu")
    place = Place(settings, Facts("node-1", "127.70.0.1", "127.0.0.1"), "https://127.0.0.1:1", b"CA")
    return place.launch(POD, {"name": "c", **container}, mounts or Mounts([]), {}, 2)


def test_addresses_are_loopback_stable_and_apart() -> None:
    uids = [str(uuid.UUID(int=number)) for number in range(500)]
    addresses = [pod_address(uid) for uid in uids]
    assert all(ipaddress.ip_address(address).is_loopback for address in addresses)
    assert len(set(addresses)) == 500
    assert addresses == [pod_address(uid) for uid in uids]
    assert not any(address.startswith("127.0.") or address.endswith((".0", ".255")) for address in addresses)


def test_python_is_the_running_one(tmp_path: Path) -> None:
    shown = launch(tmp_path, {"image": "gpu-relay/yolo:1"})
    assert shown.env["PATH"].split(":")[0] == str(Path(sys.executable).parent)
    assert any(part.endswith("images/yolo") for part in shown.env["PYTHONPATH"].split(":"))
    assert shown.log == tmp_path / "run/logs/ns_p_12345678-9/c/2.log"


def test_the_termination_log_has_a_place(tmp_path: Path) -> None:
    shown = launch(tmp_path, {"command": ["sh", "-c", "echo x > /dev/termination-log"]})
    assert shown.command[-1] == f"echo x > {shown.termination_file}"
    assert shown.env["TERMINATION_MESSAGE_PATH"] == str(shown.termination_file)


@pytest.mark.parametrize(
    ("container", "sees"),
    [
        ({"image": "gpu-relay/sam3"}, True),
        ({"image": "gpu-relay/operator"}, False),
        ({"command": ["true"]}, False),
        ({"command": ["true"], "resources": {"limits": {"nvidia.com/gpu": "1"}}}, True),
        ({"command": ["true"], "resources": {"limits": {"nvidia.com/gpu": "0"}}}, False),
    ],
)
def test_which_containers_see_the_gpu(tmp_path: Path, container: dict[str, Any], sees: bool) -> None:
    env = launch(tmp_path, container).env
    assert ("GPU_RELAY_SIMULATED_GPU" in env, "LD_LIBRARY_PATH" in env) == (sees, sees)
    assert sees or not wants_gpu(container)


def test_the_pods_own_variables_win(tmp_path: Path) -> None:
    env = [{"name": "BIND_ADDRESS", "value": "0.0.0.0"}, {"name": "GPU_RELAY_SIMULATED_GPU", "value": "/gpu"}]
    shown = launch(tmp_path, {"image": "gpu-relay/sam3", "env": env}).env
    assert (shown["BIND_ADDRESS"], shown["GPU_RELAY_SIMULATED_GPU"]) == ("0.0.0.0", "/gpu")


def test_only_pods_with_an_account_reach_the_api(tmp_path: Path) -> None:
    assert "KUBECONFIG" not in launch(tmp_path, {"command": ["true"]}).env
    mounts = Mounts([Mount(ACCOUNT, tmp_path / "account", tmp_path / "account")])
    config = json.loads(Path(launch(tmp_path, {"command": ["true"]}, mounts).env["KUBECONFIG"]).read_text())
    assert config == json.loads(kubeconfig("https://127.0.0.1:1", b"CA", tmp_path / "account", "ns"))
    assert config["users"][0]["user"] == {"tokenFile": f"{tmp_path}/account/token"}


def test_the_working_directory(tmp_path: Path) -> None:
    mounts = Mounts([Mount("/work", tmp_path / "w", tmp_path / "w")])
    assert launch(tmp_path, {"command": ["true"], "workingDir": "/work"}, mounts).folder == tmp_path / "w"
    assert launch(tmp_path, {"command": ["true"]}).folder == tmp_path / "run/pods/12345678/c"
