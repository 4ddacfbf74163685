"""The process node on a real control plane: pods are real processes, and the API says what became of them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest

from devcluster import Cluster, ClusterError, paths
from devcluster.cluster import create_ledger
from devcluster.processes import ProcessId
from devcluster.waiting import eventually
from tests.support.process_node import Node, Object, Pods

PYTHONPATH = f"{paths.REPOSITORY}/images/common"
SERVER = "import http.server as h, os; h.test(h.SimpleHTTPRequestHandler, port=8000, bind=os.environ['BIND_ADDRESS'])"
BOOK = """
import gpu_memory, os, time
with gpu_memory.open_device().reserve(int(os.environ["MIB"])):
    print("booked", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        create_ledger(cluster.ledger)
        yield cluster


@pytest.fixture(scope="module")
def running_node(cluster: Cluster) -> Iterator[Node]:
    node = Node(cluster)
    node.start()
    yield node
    node.end(signal.SIGTERM)
    assert node.pods_processes() == set()


@pytest.fixture
def node(running_node: Node) -> Node:
    """The node, ready."""
    name = running_node.cluster.node_name
    running_node.cluster.kubectl("wait", "--for=create", f"node/{name}", "--timeout=30s")
    running_node.cluster.kubectl("wait", "--for=condition=Ready", f"node/{name}", "--timeout=30s")
    return running_node


@pytest.fixture
def pods(node: Node, cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Pods]:
    namespace = request.node.name.replace("_", "-")[:60].strip("-")
    cluster.kubectl("create", "namespace", namespace)
    pods = Pods(cluster, namespace)
    account = ("get", "serviceaccount", "default", "--ignore-not-found", "-o", "name")
    eventually(lambda: pods.kubectl(*account), "the default account")
    yield pods
    pods.kubectl("delete", "deployments,pods", "--all", "--grace-period=1", "--timeout=30s")
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    # the node forgets what is deleted, whatever became of it before
    eventually(lambda: not list((node.run_dir / "pods").iterdir()), "no pod's folder left")


def free_mib(cluster: Cluster) -> int:
    done = subprocess.run(
        [sys.executable, "-m", "gpu_memory", "--json"],
        env={
            "PYTHONPATH": PYTHONPATH,
            "GPU_RELAY_SIMULATED_GPU": str(cluster.ledger),
            "LD_LIBRARY_PATH": f"{cluster.ledger}/lib",
        },
        capture_output=True,
        check=True,
    )
    return int(json.loads(done.stdout)["free_mib"])


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


def test_a_pod_with_everything(pods: Pods, tmp_path: Path) -> None:
    pods.create(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "conf"},
            "data": {"where": "/output/x", "n": "1"},
        },
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"k": "s3cret"}},
        *volume(pods.namespace, "results", tmp_path / "results"),
    )
    script = (
        'set -e; echo "$NAME $POD_IP $BIND_ADDRESS $N $KEY $1"; cat /conf/where /job/job.json /shared/from-init; echo;'
        'mkdir -p $(dirname $OUT); echo weights > $OUT; printf \'{"best": "%s"}\' "$OUT" > /dev/termination-log'
    )
    spec: Object = {
        "initContainers": [
            {
                "name": "first",
                "image": "i",
                "command": ["sh", "-c", "echo one > /s/from-init"],
                "volumeMounts": mounts("s"),
            },
            {
                "name": "next",
                "image": "i",
                "command": ["sh", "-c", "echo two >> /s/from-init"],
                "volumeMounts": mounts("s"),
            },
        ],
        "containers": [
            {
                "name": "main",
                "image": "i",
                "command": ["sh", "-c", script, "sh"],
                "args": ["$(NAME)-$(N)"],
                "env": [
                    {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                    {"name": "N", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "n"}}},
                    {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}},
                    {"name": "OUT", "value": "/output/run/best.pt"},
                ],
                "volumeMounts": [
                    {"name": "s", "mountPath": "/shared"},
                    {"name": "conf", "mountPath": "/conf"},
                    {"name": "job", "mountPath": "/job"},
                    {"name": "results", "mountPath": "/output"},
                ],
            }
        ],
        "volumes": [
            {"name": "s", "emptyDir": {}},
            {"name": "conf", "configMap": {"name": "conf"}},
            {"name": "job", "downwardAPI": {"items": [annotation("job.json", "gpurelay.dev/job")]}},
            {"name": "results", "persistentVolumeClaim": {"claimName": "results"}},
        ],
        "restartPolicy": "Never",
    }
    metadata = {"name": "all", "annotations": {"gpurelay.dev/job": '{"output": "/output/run"}'}}
    pods.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    ended = pods.ended("all")
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (0, "Completed", '{"best": "/output/run/best.pt"}')
    assert (tmp_path / "results/run/best.pt").read_text() == "weights\n"
    status = pods.get("all")["status"]
    first, where, *_ = pods.logs("all", "-c", "main").splitlines()
    ip = status["podIP"]
    assert first == f"all {ip} {ip} 1 s3cret all-1"
    place = where.split("/x", 1)[0]
    assert Path(place).name == "output", "paths in files lead to the volume"
    assert f'{{"output": "{place}/run"}}' in where
    assert pods.logs("all", "-c", "main").endswith("one\ntwo\n\n")
    assert [each["state"]["terminated"]["reason"] for each in status["initContainerStatuses"]] == ["Completed"] * 2


def config_map(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def init(name: str, script: str) -> Object:
    return {"name": name, "image": "i", "command": ["sh", "-c", script], "volumeMounts": mounts("s")}


def mounts(volume: str) -> list[Object]:
    return [{"name": volume, "mountPath": f"/{volume}"}]


def annotation(path: str, key: str) -> Object:
    return {"path": path, "fieldRef": {"fieldPath": f"metadata.annotations['{key}']"}}


def volume(namespace: str, name: str, folder: Path) -> list[Object]:
    """A claim, and the volume that is bound to it."""
    shared: Object = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    own = f"{namespace}-{name}"
    claim = {**shared, "volumeName": own, "resources": {"requests": {"storage": "1Gi"}}}
    size = {"capacity": {"storage": "1Gi"}, "hostPath": {"path": str(folder)}}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": own}, "spec": {**shared, **size}},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": claim},
    ]


def test_servers_share_a_port_on_addresses_of_their_own(pods: Pods) -> None:
    probes = {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1}
    container = {"ports": [{"name": "http", "containerPort": 8000}], "readinessProbe": probes, "livenessProbe": probes}
    for name in ("a", "b"):
        pods.run(name, "python", "-c", SERVER, container=container)
    pods.kubectl("wait", "--for=condition=Ready", "pod/a", "pod/b", "--timeout=30s")
    addresses = {pods.get(name)["status"]["podIP"] for name in ("a", "b")}
    assert len(addresses) == 2
    for address in addresses:
        with build_opener(ProxyHandler({})).open(f"http://{address}:8000/", timeout=5) as answer:
            assert answer.status == 200


def test_a_pod_is_not_ready_before_its_probe_passes(pods: Pods) -> None:
    script = f"import os, time\nwhile not os.path.exists('go'): time.sleep(0.05)\n{SERVER}"
    probe = {"httpGet": {"port": 8000}, "periodSeconds": 1}
    container = {"startupProbe": {**probe, "failureThreshold": 60}, "readinessProbe": probe, "workingDir": "/w"}
    mount = {"volumeMounts": mounts("w")}
    pods.run("slow", "python", "-c", script, container={**container, **mount}, volumes=[{"name": "w", "emptyDir": {}}])
    pods.until("slow", "Running")
    status = pods.main("slow")
    assert (status["started"], status["ready"]) == (False, False)
    pods.kubectl("annotate", "pod", "slow", "nothing=changes")
    uid = pods.get("slow")["metadata"]["uid"]
    (pods.cluster.run_dir / "node" / "pods" / uid[:8] / "volumes" / "w" / "go").touch()
    pods.kubectl("wait", "--for=condition=Ready", "pod/slow", "--timeout=30s")
    assert pods.main("slow")["started"] is True


def test_a_container_whose_liveness_fails_is_started_again(pods: Pods) -> None:
    probe = {"httpGet": {"port": 8000}, "periodSeconds": 1, "failureThreshold": 1, "initialDelaySeconds": 1}
    pods.run("stuck", "sleep", "600", container={"livenessProbe": probe}, restartPolicy="Always")
    eventually(lambda: pods.main("stuck").get("restartCount", 0) >= 1, "a restart")
    assert pods.main("stuck")["lastState"]["terminated"]["exitCode"] == 143


def test_crashes_back_off_and_end(pods: Pods) -> None:
    script = 'n=$(cat /s/n 2>/dev/null || echo 0); echo $((n+1)) > /s/n; echo "run $n"; [ $n -ge 2 ]'
    mount = {"volumeMounts": mounts("s")}
    volumes = [{"name": "s", "emptyDir": {}}]
    pods.run("flaky", "sh", "-c", script, container=mount, volumes=volumes, restartPolicy="OnFailure")
    waits = eventually(lambda: pods.main("flaky").get("state", {}).get("waiting"), "a back-off", every=0.02)
    assert waits["reason"] in ("CrashLoopBackOff", "ContainerCreating")
    pods.until("flaky", "Succeeded")
    status = pods.main("flaky")
    assert status["restartCount"] == 2
    assert status["lastState"]["terminated"]["exitCode"] == 1
    assert (pods.logs("flaky"), pods.logs("flaky", "--previous")) == ("run 2\n", "run 1\n")


def test_logs_follow_and_end(pods: Pods) -> None:
    pods.run("talker", "sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.4; done")
    eventually(lambda: pods.logs("talker"), "a first line")
    assert pods.logs("talker", "--follow") == "line 1\nline 2\nline 3\n"
    assert pods.logs("talker", "--tail=1") == "line 3\n"
    with pytest.raises(ClusterError, match="keeps no times"):
        pods.kubectl("logs", "talker", "--timestamps")


def test_a_pod_has_time_to_end(pods: Pods) -> None:
    script = "trap 'echo bye > /dev/termination-log; sleep 0.3; exit 143' TERM; echo up; while :; do sleep 0.05; done"
    pods.run("polite", "sh", "-c", script, terminationGracePeriodSeconds=60)
    eventually(lambda: pods.logs("polite"), "the trap")
    # a finalizer keeps the object, so that its last status can be read
    pods.kubectl("patch", "pod", "polite", "-p", '{"metadata": {"finalizers": ["gpurelay.dev/test"]}}')
    pods.kubectl("delete", "pod", "polite", "--wait=false")
    terminated = eventually(lambda: pods.main("polite")["state"].get("terminated"), "its last status")
    assert (terminated["exitCode"], terminated["message"]) == (143, "bye\n")
    pods.kubectl("patch", "pod", "polite", "-p", '{"metadata": {"finalizers": null}}')
    eventually(lambda: pods.gone("polite"), "the end")


def test_a_stubborn_pod_is_killed_with_all_it_started(pods: Pods, node: Node) -> None:
    before = node.pods_processes()
    script = "trap '' TERM; setsid sleep 600 & setsid sleep 600 & echo up; while :; do sleep 0.1; done"
    pods.run("stubborn", "sh", "-c", script, terminationGracePeriodSeconds=1)
    eventually(lambda: pods.logs("stubborn"), "its start")
    assert len(node.pods_processes() - before) >= 4
    pods.kubectl("delete", "pod", "stubborn", "--timeout=30s")
    assert node.pods_processes() <= before


def test_a_pod_removed_by_force_leaves_no_process(pods: Pods, node: Node) -> None:
    before = node.pods_processes()
    pods.run("lost", "sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done")
    eventually(lambda: pods.logs("lost"), "its start")
    pods.kubectl("delete", "pod", "lost", "--force", "--grace-period=0")
    assert pods.gone("lost")
    eventually(lambda: node.pods_processes() <= before, "no process")


def test_a_deadline_ends_a_pod(pods: Pods) -> None:
    pods.run("late", "sleep", "600", activeDeadlineSeconds=4)  # longer than the start takes
    status = pods.until("late", "Failed")["status"]
    assert status["reason"] == "DeadlineExceeded"
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143


def test_what_is_missing_is_waited_for(pods: Pods) -> None:
    env = [{"name": "N", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "n"}}}]
    pods.run("env", "sh", "-c", "echo $N", container={"env": env})
    volumes = [{"name": "v", "configMap": {"name": "later"}}]
    pods.run("volume", "cat", "/v/n", container={"volumeMounts": mounts("v")}, volumes=volumes)
    waiting = eventually(lambda: waiting_for(pods, "env", "CreateContainerConfigError"), "the reason")
    assert waiting["message"] == "configmap 'later' not found"
    assert waiting_for(pods, "volume", "ContainerCreating")
    pods.create(config_map("later", n="7"))
    for name in ("env", "volume"):
        pods.until(name, "Succeeded")
        assert pods.logs(name).strip() == "7"


def waiting_for(pods: Pods, name: str, reason: str) -> Object | None:
    waiting = pods.main(name).get("state", {}).get("waiting", {})
    return dict(waiting) if waiting.get("reason") == reason else None


def test_unknown_images_and_programs_are_said(pods: Pods) -> None:
    pods.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "image"},
            "spec": {"containers": [{"name": "main", "image": "nowhere/nothing:1"}]},
        }
    )
    pods.run("program", "no-such-program")
    pods.run("hook", "sleep", "1", container={"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}})
    waiting = eventually(lambda: waiting_for(pods, "image", "ErrImagePull"), "the reason")
    assert "nowhere/nothing:1" in waiting["message"]
    ended = pods.ended("program", "Failed")
    assert (ended["reason"], ended["message"]) == ("StartError", "cannot start 'no-such-program': not found on PATH")
    assert "lifecycle hooks" in pods.until("hook", "Failed")["status"]["message"]


def test_a_pod_reaches_the_api_as_its_account(pods: Pods) -> None:
    token = {"serviceAccountToken": {"path": "token", "audience": "gpu-relay", "expirationSeconds": 600}}
    volumes = [{"name": "t", "projected": {"sources": [token]}}]
    script = "kubectl auth whoami -o jsonpath={.status.userInfo.username}; echo; cat /t/token"
    pods.run("caller", "sh", "-c", script, container={"volumeMounts": mounts("t")}, volumes=volumes)
    pods.until("caller", "Succeeded")
    user, token_text = pods.logs("caller").splitlines()
    assert user == f"system:serviceaccount:{pods.namespace}:default"
    review: Object = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token_text, "audiences": ["gpu-relay"]},
    }
    answer = json.loads(pods.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review)))
    # the pod is over, and its token with it: valid only while the pod it is bound to exists
    assert answer["status"]["user"]["username"] == user
    assert answer["status"]["audiences"] == ["gpu-relay"]


def test_pods_share_the_gpu_and_free_it_by_ending(pods: Pods, cluster: Cluster) -> None:
    def book(name: str, mib: int) -> None:
        env = [{"name": "MIB", "value": str(mib)}, {"name": "PYTHONPATH", "value": PYTHONPATH}]
        gpu = {"limits": {"nvidia.com/gpu": "1"}}
        pods.run(name, "python", "-c", BOOK, container={"env": env, "resources": gpu})

    book("resident", 14000)
    eventually(lambda: pods.logs("resident"), "the booking")
    assert free_mib(cluster) == 910
    book("greedy", 1000)
    pods.until("greedy", "Failed")
    assert "OutOfMemoryError: CUDA out of memory" in pods.logs("greedy")
    pods.kubectl("delete", "pod", "resident", "--timeout=30s")
    assert free_mib(cluster) == 14910


def test_controllers_work_with_it(pods: Pods) -> None:
    container = {"name": "main", "image": "i", "command": ["sleep", "600"]}
    labels = {"app": "x"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    pods.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": spec})
    pods.kubectl("rollout", "status", "deployment/x", "--timeout=60s")


def test_a_killed_node_takes_its_processes_along_and_recovers(pods: Pods, node: Node, cluster: Cluster) -> None:
    env = [{"name": "MIB", "value": "9000"}, {"name": "PYTHONPATH", "value": PYTHONPATH}]
    gpu = {"limits": {"nvidia.com/gpu": "1"}}
    pods.run("training", "python", "-c", BOOK, container={"env": env, "resources": gpu})
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


def test_what_a_killed_shim_left_ends_at_the_nodes_next_start(pods: Pods, node: Node) -> None:
    pods.run("orphans", "sh", "-c", "setsid sleep 600 & echo $!; wait")
    orphan = int(eventually(lambda: pods.logs("orphans"), "its start"))
    os.kill(node.pid, signal.SIGSTOP)  # it must not see its shims die
    shims = [pid for pid in node.pods_processes() if "shim.py" in Path(f"/proc/{pid}/cmdline").read_text()]
    for pid in shims:
        os.kill(pid, signal.SIGKILL)
    assert ProcessId.of(orphan) is not None
    node.restart(signal.SIGKILL)
    eventually(lambda: ProcessId.of(orphan) is None, "no orphan")


def test_a_node_told_to_end_ends_its_pods_in_good_order(pods: Pods, node: Node) -> None:
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
