"""`kubectl relay logs` against a real API server and the process node's log route."""

import json
from pathlib import Path
from typing import Any

import pytest

from devcluster import ClusterError
from devcluster.paths import REPOSITORY
from devcluster.waiting import eventually
from tests.support.plugin import Plugin
from tests.support.process_node import Pods

SPEC = {
    "model": "yolo26n.yaml",
    "dataset": {"persistentVolumeClaim": {"claimName": "data"}},
    "output": {"persistentVolumeClaim": {"claimName": "results"}},
    "gpu": {"memory": "10Gi"},
}
TRAINER = {"name": "trainer"}


@pytest.fixture
def relay(pods: Pods, tmp_path: Path) -> Plugin:
    """The plugin, run by an administrator, on a cluster with our CRD."""
    pods.cluster.kubectl("apply", "--server-side", "-k", str(REPOSITORY / "crds"))
    eventually(lambda: knows_jobs(pods), "the API server to serve our kind")
    return Plugin(tmp_path / "bin", pods.cluster.kubeconfig)


def knows_jobs(pods: Pods) -> bool:
    try:
        pods.kubectl("get", "yolotrainingjobs")
    except ClusterError:
        return False
    return True


def job(pods: Pods, name: str, **status: Any) -> None:
    """Create a job with a status, which no operator changes here."""
    body = {"apiVersion": "gpurelay.dev/v1alpha1", "kind": "YoloTrainingJob", "metadata": {"name": name}, "spec": SPEC}
    pods.create(body)
    patch = json.dumps({"status": {"observedGeneration": 1, **status}})
    pods.kubectl("patch", "yolotrainingjob", name, "--subresource=status", "--type=merge", "-p", patch)


def test_logs_of_trainer_preparation_and_a_missing_pod(pods: Pods, relay: Plugin) -> None:
    here = ("-n", pods.namespace)
    lines = "printf 'epoch 1\\n\\033[34mepoch 2\\033[0m\\n'"
    job(pods, "digits", phase="Training", pod="digits-1", attempt=1)
    pods.run("digits-1", "sh", "-c", f"{lines}; until [ -e go ]; do sleep 0.1; done; echo done", container=TRAINER)
    eventually(lambda: "epoch 2" in pods.logs("digits-1"), "the first lines")
    shown = relay("logs", "digits", *here)
    assert (shown.code, shown.out) == (0, "epoch 1\nepoch 2\n"), shown.err
    assert shown.err == f"{pods.namespace}/digits: pod digits-1 (attempt 1)\n"

    following = relay.start("logs", "-f", "digits", *here)
    assert following.stdout is not None
    assert [following.stdout.readline() for _ in range(2)] == ["epoch 1\n", "epoch 2\n"]
    assert following.poll() is None, "it follows"
    pods.kubectl("delete", "pod", "digits-1", "--grace-period=1", "--wait")
    following.stdout.read()
    assert following.wait(30) == 0

    gone = relay("logs", "digits", *here)
    assert gone.code == 1
    assert "pod digits-1 (attempt 1) no longer exists, nor does its log" in gone.err
    assert "What it has written is on PVC results" in gone.err
    assert relay("logs", "digits", "--attempt", "4", *here).code == 3
    assert "digits" in relay.completes("logs", *here, "d")


def test_following_waits_for_the_preparing_pod_to_start(pods: Pods, relay: Plugin) -> None:
    here = ("-n", pods.namespace)
    preparation = {"number": 1, "pod": "digits-prepare-1", "startTime": "2026-01-01T00:00:00Z"}
    job(pods, "digits", phase="Preparing", preparation=preparation)
    gated = {"schedulingGates": [{"name": "example.com/wait"}]}
    pods.run("digits-prepare-1", "sh", "-c", "echo 12 images", container=TRAINER, **gated)
    before = relay("logs", "digits", *here)
    assert before.code == 1
    assert "pod digits-prepare-1 (preparation) has not started: " in before.err
    assert "Add --follow" in before.err
    following = relay.start("logs", "--follow", "digits", *here)
    assert following.stderr is not None
    assert following.stdout is not None
    following.stderr.readline()
    assert "has not started: waiting for it" in following.stderr.readline()
    pods.kubectl("patch", "pod", "digits-prepare-1", "--type=merge", "-p", '{"spec":{"schedulingGates":null}}')
    assert following.stdout.read() == "12 images\n"
    assert following.wait(30) == 0
