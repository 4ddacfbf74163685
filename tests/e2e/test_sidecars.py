"""Training pods with sidecars on a real kubelet: the trainer alone is judged, and all containers hold the GPU."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.relay import Relay
from devcluster import NodeKind

# The first process of a container ignores SIGTERM unless it handles it.
_UNTIL_SIGTERM = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); signal.pause()"
_CRASH = "raise SystemExit('out of disk')"


def sidecar(name: str, program: str) -> dict[str, Any]:
    """Return a container of the trainer's image, which the node has, that runs a program of its own."""
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {
        "name": name, "image": "localhost/gpu-relay/yolo:dev", "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", program], "securityContext": security,
    }  # fmt: skip


@pytest.fixture
def sidecars(relay: Relay) -> Iterator[None]:
    """Have every training and preparing pod run three more containers, whose names sort before the trainer's."""
    before = relay.pod_template()
    template = yaml.safe_load(before)
    template["spec"]["containers"] += [sidecar("a-crash", _CRASH), sidecar("log-shipper", _UNTIL_SIGTERM)]
    if relay.node is NodeKind.KUBELET:  # the process node has no native sidecars
        template["spec"]["initContainers"] = [{**sidecar("proxy", _UNTIL_SIGTERM), "restartPolicy": "Always"}]
    relay.use_pod_template(yaml.safe_dump(template))
    yield
    relay.clear()
    relay.use_pod_template(before)


@pytest.mark.usefixtures("sidecars")
def test_sidecars_neither_end_a_turn_nor_keep_the_gpu(relay: Relay, photograph: Path) -> None:
    """One crashes beside the live trainer, the others outlive it; the second job needs the first one's share."""
    relay.load_sam3(photograph)
    with relay.watched() as seen:
        for name in ("meshed", "after"):
            relay.apply(name)
        for name in ("meshed", "after"):
            relay.reaches(name, "Succeeded", "Failed", within=300)
    for name in ("meshed", "after"):
        status = relay.job(name)["status"]
        assert status["phase"] == "Succeeded", status
        assert [attempt["reason"] for attempt in status["attempts"]] == ["Completed"]
    assert seen.polls > 10
    relay.is_back()
