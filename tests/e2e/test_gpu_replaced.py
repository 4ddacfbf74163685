"""A GPU that is replaced during training, on a real kubelet: the job continues from its checkpoint on the new one."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.relay import NAMESPACE, SYSTEM, Relay
from devcluster.waiting import eventually


@pytest.fixture
def new_uuid(relay: Relay) -> Iterator[str]:
    """A UUID for the simulated card that takes the old one's place; the old one is back after the test."""
    name = relay.ledger / "uuid"
    before = name.read_text()
    yield f"GPU-{uuid.uuid4()}"
    relay.clear()
    name.write_text(before)
    restart_sam3(relay)


def restart_sam3(relay: Relay) -> None:
    """Have SAM3's pod replaced, and wait until the new one is ready."""
    relay.kill_pod("gpurelay.dev/resident=sam3")
    relay.kubectl("-n", SYSTEM, "rollout", "status", "deployment/sam3", "--timeout=120s")


def test_a_job_whose_card_is_replaced_continues_on_the_new_one(relay: Relay, photograph: Path, new_uuid: str) -> None:
    relay.load_sam3(photograph)
    relay.apply("replaced", epochs=8)
    relay.trains("replaced")
    eventually(lambda: relay.job("replaced")["status"].get("progress", {}).get("epoch", 0) >= 1, "a checkpoint")
    (relay.ledger / "uuid").write_text(new_uuid)
    relay.kill_pod("gpurelay.dev/resident=sam3")
    relay.kill_pod("gpurelay.dev/job=replaced,gpurelay.dev/attempt", NAMESPACE)
    relay.reaches("replaced", "Succeeded", "Failed", within=300)
    status = relay.job("replaced")["status"]
    assert status["phase"] == "Succeeded", status
    lost, completed = status["attempts"]
    assert (lost["reason"], completed["reason"]) == ("PodLost", "Completed")
    assert completed["gpu"] == new_uuid.lower()
    assert lost["gpu"] != completed["gpu"]
    relay.is_back()
