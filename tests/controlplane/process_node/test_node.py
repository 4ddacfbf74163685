"""The process node itself: it registers, recovers from a crash, and ends its pods when it is stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from devcluster import Cluster, paths
from devcluster.processes import ProcessId
from devcluster.waiting import eventually
from tests.support.process_node import Node, Pods, book, free_mib


def test_the_node_is_registered(node: Node, cluster: Cluster) -> None:
    shown = json.loads(cluster.kubectl("get", "node", cluster.node_name, "-o", "json"))
    assert shown["metadata"]["labels"]["kubernetes.io/hostname"] == cluster.node_name
    assert shown["status"]["allocatable"]["nvidia.com/gpu"] == "2"
    lease = json.loads(cluster.kubectl("-n", "kube-node-lease", "get", "lease", cluster.node_name, "-o", "json"))
    assert lease["spec"]["holderIdentity"] == cluster.node_name


def test_two_nodes_cannot_share_a_folder(node: Node) -> None:
    command = [sys.executable, "-m", "devcluster.process_node", "--kubeconfig=x", "--node-name=y"]
    done = subprocess.run(
        [*command, f"--run-dir={node.run_dir}"], cwd=paths.REPOSITORY, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert "choose another --run-dir" in done.stderr


def test_a_deployment_rolls_out(pods: Pods) -> None:
    container = {"name": "main", "image": "i", "command": ["sleep", "600"]}
    labels = {"app": "x"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    pods.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": spec})
    pods.kubectl("rollout", "status", "deployment/x", "--timeout=60s")


def test_a_killed_node_ends_its_processes_and_recovers(pods: Pods, node: Node, cluster: Cluster) -> None:
    book(pods, "training", 9000)
    pods.run("service", "sh", "-c", "setsid sleep 600 & echo up; wait", restartPolicy="Always")
    eventually(lambda: pods.logs("training") and pods.logs("service"), "both")
    assert free_mib(cluster) == 5910
    node.end(signal.SIGKILL)
    eventually(lambda: not node.pods_processes(), "no process")
    assert free_mib(cluster) == 14910
    node.start()
    ended = pods.ended("training", "Failed")
    assert (ended["exitCode"], ended["reason"]) == (137, "ContainerStatusUnknown")
    eventually(lambda: pods.main("service").get("state", {}).get("running"), "the service again")
    assert pods.main("service")["restartCount"] == 1


def test_orphans_of_a_killed_shim_end_at_the_next_start(pods: Pods, node: Node) -> None:
    pods.run("orphans", "sh", "-c", "setsid sleep 600 & echo $!; wait")
    orphan = int(eventually(lambda: pods.logs("orphans"), "its start"))
    os.kill(node.pid, signal.SIGSTOP)  # it must not see its shims die
    shims = [pid for pid in node.pods_processes() if "shim.py" in Path(f"/proc/{pid}/cmdline").read_text()]
    for pid in shims:
        os.kill(pid, signal.SIGKILL)
    assert ProcessId.of(orphan) is not None
    node.restart(signal.SIGKILL)
    eventually(lambda: ProcessId.of(orphan) is None, "no orphan")


def test_a_stopped_node_ends_its_pods_gracefully(pods: Pods, node: Node) -> None:
    script = "trap 'echo saved > /dev/termination-log; exit 143' TERM; echo up; while :; do sleep 0.05; done"
    pods.run("worker", "sh", "-c", script)
    eventually(lambda: pods.logs("worker"), "its start")
    started = time.monotonic()
    assert node.end(signal.SIGTERM) == 0
    assert time.monotonic() - started < 12
    assert node.pods_processes() == set()
    ended = pods.ended("worker", "Failed")
    assert (ended["exitCode"], ended["message"]) == (143, "saved\n")
    node.start()
