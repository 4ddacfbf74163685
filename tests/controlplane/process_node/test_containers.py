"""What a container gets: files, environment, volumes, an address, a token, a share of the GPU."""

import json
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

from devcluster import Cluster
from devcluster.waiting import eventually
from tests.support.process_node import SERVER, Object, Pods, book, free_mib, mounts


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


def annotation(path: str, key: str) -> Object:
    return {"path": path, "fieldRef": {"fieldPath": f"metadata.annotations['{key}']"}}


def volume(namespace: str, name: str, folder: Path) -> list[Object]:
    """Return a PVC, and the volume that is bound to it."""
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


def test_a_missing_config_map_is_waited_for(pods: Pods) -> None:
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


def test_unknown_images_and_programs_are_reported(pods: Pods) -> None:
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
    # the token is valid while the pod object that it is bound to exists, although the pod has ended
    assert answer["status"]["user"]["username"] == user
    assert answer["status"]["audiences"] == ["gpu-relay"]


def test_pods_share_the_gpu_and_free_it_by_ending(pods: Pods, cluster: Cluster) -> None:
    book(pods, "resident", 14000)
    eventually(lambda: pods.logs("resident"), "the booking")
    assert free_mib(cluster) == 910
    book(pods, "greedy", 1000)
    pods.until("greedy", "Failed")
    assert "OutOfMemoryError: CUDA out of memory" in pods.logs("greedy")
    pods.kubectl("delete", "pod", "resident", "--timeout=30s")
    assert free_mib(cluster) == 14910
