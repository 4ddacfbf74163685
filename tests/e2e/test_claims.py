"""PVCs that are not there yet when a job is: created late, and bound by the first pod that uses them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from demo.relay import NAMESPACE, Relay
from devcluster.waiting import eventually

NAME = "late"
SIZE = "1Gi"


@pytest.fixture
def lazy_class(relay: Relay) -> Iterator[dict[str, Any]]:
    """A StorageClass that waits for a consumer, with one volume on the node; a PVC's spec for it."""
    folder = relay.volumes.results.parent / NAME
    folder.mkdir()
    folder.chmod(0o777)  # pods run as a user of their own
    shared: dict[str, Any] = {"accessModes": ["ReadWriteMany"], "storageClassName": NAME}
    storage = {"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}
    volume = {"spec": {**shared, "capacity": {"storage": SIZE}, "hostPath": {"path": str(folder)}}}
    create(relay, "storage.k8s.io/v1", "StorageClass", storage)
    create(relay, "v1", "PersistentVolume", volume)
    yield {"spec": {**shared, "resources": {"requests": {"storage": SIZE}}}}
    relay.clear()
    relay.kubectl("-n", NAMESPACE, "delete", f"pvc/{NAME}", "--ignore-not-found")
    relay.kubectl("delete", f"pv/{NAME}", f"storageclass/{NAME}")


def create(relay: Relay, version: str, kind: str, fields: dict[str, Any]) -> None:
    body = {"apiVersion": version, "kind": kind, "metadata": {"name": NAME}, **fields}
    relay.kubectl("-n", NAMESPACE, "create", "-f", "-", stdin=json.dumps(body))


def message_of(relay: Relay, reason: str) -> str:
    conditions = relay.job(NAME)["status"].get("conditions", [])
    return next((str(each["message"]) for each in conditions if each["reason"] == reason), "")


def test_results_on_a_late_pvc_that_waits_for_its_consumer(relay: Relay, lazy_class: dict[str, Any]) -> None:
    relay.apply(NAME, output={"persistentVolumeClaim": {"claimName": NAME}, "path": NAME})
    said = eventually(lambda: message_of(relay, "VolumeClaimMissing"), "the message on the missing PVC")
    assert said == f"PersistentVolumeClaim {NAME} does not exist in namespace {NAMESPACE}: create it"
    create(relay, "v1", "PersistentVolumeClaim", lazy_class)
    relay.reaches(NAME, "Succeeded", "Failed", within=300)
    assert relay.phase(NAME) == "Succeeded", relay.job(NAME)["status"]
    assert relay.job(NAME)["status"]["preparation"]["number"] == 1
    assert (relay.volumes.results.parent / NAME / NAME / "manifest.json").is_file()
