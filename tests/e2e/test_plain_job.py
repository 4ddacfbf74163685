"""A plain Job with a PyTorch script on a real kubelet: it dies beside SAM3, and takes turns through Kueue."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.relay import MODEL_MIB, NAMESPACE, NEED_MIB, Relay
from devcluster import kueue
from devcluster.binaries import is_built
from devcluster.paths import REPOSITORY
from devcluster.waiting import eventually

_ACCESS = "gpurelay.dev/gpu-access"
SCRIPT = f"""
import gpu_memory, torch

device = gpu_memory.open_device()
with device.reserve({NEED_MIB}):  # on a real GPU, the allocations of the training
    torch.manual_seed(0)
    inputs = torch.randn(512, 16, device=device.torch_device)
    targets = inputs.sum(dim=1, keepdim=True)
    model = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    model.to(device.torch_device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(300):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
    print(f"loss {{loss.item():.3f}}", flush=True)
"""


def plain_job(name: str, queue: str = "") -> dict[str, Any]:
    """Return a Job that trains on the GPU; in a LocalQueue, it says how much GPU memory it needs."""
    container = {
        "name": "main",
        "image": "localhost/gpu-relay/yolo:dev",
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", SCRIPT],
        "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"nvidia.com/gpu": "1"}},
        "env": [
            {"name": "GPU_RELAY_SIMULATED_GPU", "value": "/gpu-ledger"},
            {"name": "LD_LIBRARY_PATH", "value": "/gpu-ledger/lib"},
        ],
        "volumeMounts": [{"name": "gpu-ledger", "mountPath": "/gpu-ledger"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "gpu-ledger", "persistentVolumeClaim": {"claimName": "gpu-ledger"}}],
    }
    memory = {"gpurelay.dev/gpu-memory": f"{NEED_MIB}Mi"} if queue else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {"kueue.x-k8s.io/queue-name": queue} if queue else {},
        },
        "spec": {"backoffLimit": 0, "template": {"metadata": {"annotations": memory}, "spec": pod}},
    }


@pytest.fixture
def queue(relay: Relay) -> Iterator[str]:
    """A LocalQueue of the ClusterQueue that the component ships, with the operator's check, for Jobs of any kind."""
    if not is_built(kueue.PROGRAM):
        pytest.skip("Kueue is not built: KUEUE=1 make test-controlplane builds it (5 minutes on 2 cores)")
    relay.kubectl("apply", "-f", str(REPOSITORY / "manifests/components/kueue/admission-check.yaml"))
    local = {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "LocalQueue",
        "metadata": {"name": "team", "namespace": NAMESPACE},
        "spec": {"clusterQueue": "shared-gpu"},
    }
    relay.kubectl("apply", "-f", "-", stdin=json.dumps(local))
    relay.kubectl("label", "namespace", NAMESPACE, f"{_ACCESS}-")
    yield "team"
    relay.kubectl("label", "namespace", NAMESPACE, f"{_ACCESS}=jobs-only")
    relay.kubectl("-n", NAMESPACE, "delete", "jobs", "--all", "--cascade=foreground")
    relay.kubectl("-n", NAMESPACE, "delete", "localqueue", "team")


def ends(relay: Relay, name: str) -> str:
    """Wait for the end of a Job; return `Complete` or `Failed`."""
    path = "jsonpath={.status.conditions[?(@.status=='True')].type}"

    def ended() -> str:
        found = relay.kubectl("-n", NAMESPACE, "get", "job", name, "-o", path).split()
        return next((each for each in found if each in {"Complete", "Failed"}), "")

    return eventually(ended, f"the end of Job {name}", within=180)


def test_a_plain_pytorch_job_takes_turns_with_sam3(relay: Relay, photograph: Path, queue: str) -> None:
    relay.load_sam3(photograph)
    relay.kubectl("apply", "-f", "-", stdin=json.dumps(plain_job("alone")))
    assert ends(relay, "alone") == "Failed"
    assert "OutOfMemoryError" in relay.kubectl("-n", NAMESPACE, "logs", "job/alone")
    assert relay.loaded()
    with relay.watched() as seen:
        relay.kubectl("apply", "-f", "-", stdin=json.dumps(plain_job("in-turn", queue)))
        assert ends(relay, "in-turn") == "Complete", relay.kubectl("-n", NAMESPACE, "describe", "workloads")
    assert "loss 0.0" in relay.kubectl("-n", NAMESPACE, "logs", "job/in-turn")
    assert seen.least_used < MODEL_MIB, "SAM3 was unloaded"
    relay.is_back()
