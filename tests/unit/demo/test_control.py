"""The control pod is the training pod in all that matters, and in nothing the relay's."""

import json
from typing import Any

import pytest

from demo.control import JOB_ANNOTATION, control_objects, job_file

JOB = {
    "job": {"namespace": "vision", "name": "digits", "uid": "u1"},
    "training": {"epochs": 8, "batch": 8},
    "output": {"path": "/output/digits", "export": []},
    "gpu": {"uuid": "GPU-1", "memoryMiB": 10240},
    "hold": {"url": "http://10.0.0.1:8000", "fence": 3, "renewKey": "secret", "ttlSeconds": 60},
}


def training_pod() -> dict[str, Any]:
    return {
        "metadata": {
            "name": "digits-1",
            "namespace": "vision",
            "uid": "p1",
            "labels": {"gpurelay.dev/job": "digits", "gpurelay.dev/gpu": "gpu-1"},
            "annotations": {JOB_ANNOTATION: json.dumps(JOB)},
            "ownerReferences": [{"kind": "YoloTrainingJob", "name": "digits"}],
        },
        "spec": {
            "nodeName": "gpu-1",
            "priority": 0,
            "affinity": {"nodeAffinity": {}},
            "containers": [
                {"name": "sidecar", "args": ["serve"]},
                {
                    "name": "trainer",
                    "image": "localhost/gpu-relay/yolo:dev",
                    "args": ["run"],
                    "env": [{"name": "GPU_RELAY_SIMULATED_GPU", "value": "/gpu-ledger"}],
                    "resources": {"limits": {"nvidia.com/gpu": "1"}},
                    "volumeMounts": [{"name": "job", "mountPath": "/etc/gpu-relay", "readOnly": True}],
                },
            ],
            "volumes": [
                {"name": "gpu-ledger", "persistentVolumeClaim": {"claimName": "gpu-ledger"}},
                {"name": "job", "downwardAPI": {"items": []}},
                {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
            ],
        },
        "status": {"phase": "Succeeded"},
    }


def objects() -> tuple[dict[str, Any], dict[str, Any]]:
    config_map, pod = control_objects(training_pod(), "without-relay")["items"]
    return config_map, pod


def test_the_job_file_differs_only_in_hold_and_folder() -> None:
    changed = job_file(training_pod(), "without-relay")
    assert changed == {**JOB, "hold": None, "output": {"path": "/output/without-relay", "export": []}}


def test_the_pod_reads_that_file_where_the_training_pod_read_its_own() -> None:
    config_map, pod = objects()
    assert config_map["metadata"] == {"name": "without-relay", "namespace": "vision"}
    assert json.loads(config_map["data"]["job.json"]) == job_file(training_pod(), "without-relay")
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert volumes["job"] == {"name": "job", "configMap": {"name": "without-relay"}}


def test_the_pod_is_the_same_but_for_the_missing_preflight() -> None:
    _, pod = objects()
    before, after = training_pod()["spec"], pod["spec"]
    assert after["containers"][1] == {**before["containers"][1], "args": ["run", "--no-preflight"]}
    assert after["containers"][0] == before["containers"][0]
    assert after["affinity"] == before["affinity"]
    assert [v for v in after["volumes"] if v["name"] != "job"] == [v for v in before["volumes"] if v["name"] != "job"]


def test_labels_of_the_relay_and_assigned_fields_are_not_copied() -> None:
    _, pod = objects()
    assert "gpurelay.dev" not in json.dumps(pod)
    assert set(pod["metadata"]) == {"name", "namespace", "labels"}
    assert "status" not in pod
    assert not {"nodeName", "priority"} & set(pod["spec"])


def test_the_training_pod_stays_as_it_was() -> None:
    pod = training_pod()
    control_objects(pod, "without-relay")
    assert pod == training_pod()


def test_a_pod_without_a_job_file_is_refused_by_name() -> None:
    pod = training_pod()
    del pod["metadata"]["annotations"][JOB_ANNOTATION]
    with pytest.raises(ValueError, match=r"digits-1 has no annotation gpurelay\.dev/job"):
        control_objects(pod, "without-relay")


def test_a_pod_without_a_job_volume_is_refused() -> None:
    pod = training_pod()
    del pod["spec"]["volumes"][1]
    with pytest.raises(ValueError, match="no volume 'job'"):
        control_objects(pod, "without-relay")
