"""The training pod that the operator builds from a job and the site's template."""

import json
from typing import Any

import pytest

from gpu_relay.domain.decision import CreatePod
from gpu_relay.domain.objects.pod import training_pod_of
from gpu_relay.domain.queue.preparation_placement import Place
from gpu_relay.pods.pod_builder import TrainerDefaults, preparing_pod, training_pod
from tests.support.builders import job, lease


def test_the_training_pod_has_fields_of_job_site_and_lease() -> None:
    template = {
        "metadata": {"labels": {"team": "vision"}},
        "spec": {
            "runtimeClassName": "nvidia",
            "containers": [{"name": "trainer", "env": [{"name": "A", "value": "1"}]}],
            "volumes": [{"name": "extra", "emptyDir": {}}],
        },
    }
    defaults = TrainerDefaults("gpu-relay/yolo", "nvidia.com/gpu", 60, template=template)
    body = training_pod(job(podTemplate={"nodeSelector": {"zone": "a"}}), lease(), None, CreatePod(2, 8), defaults)
    spec, container = body["spec"], body["spec"]["containers"][0]
    assert (body["metadata"]["name"], body["metadata"]["labels"]["team"]) == ("digits-2", "vision")
    assert (spec["runtimeClassName"], spec["nodeSelector"], spec["restartPolicy"]) == ("nvidia", {"zone": "a"}, "Never")
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    assert {"name": "A", "value": "1"} in container["env"]
    assert [volume["name"] for volume in spec["volumes"]] == ["extra", "job", "data", "output", "tmp", "shm"]
    contents = json.loads(body["metadata"]["annotations"]["gpurelay.dev/job"])
    assert (contents["training"]["batch"], contents["dataset"]["path"]) == (8, "/data/digits")
    read_back = training_pod_of({**body, "metadata": {**body["metadata"], "uid": "u", "creationTimestamp": "t"}})
    assert (read_back.job_uid, read_back.fence, read_back.live) == ("uid-digits", 7, True)


def test_one_pvc_for_data_and_results_is_mounted_once() -> None:
    one = job(output={"persistentVolumeClaim": {"claimName": "data"}, "path": "out"})
    body = training_pod(one, lease(), None, CreatePod(1, 8), TrainerDefaults("i", "", 60))
    assert [v["name"] for v in body["spec"]["volumes"] if "persistentVolumeClaim" in v] == ["data"]
    mounts = {m["mountPath"]: m["name"] for m in body["spec"]["containers"][0]["volumeMounts"]}
    assert mounts["/output"] == mounts["/data"] == "data"


def test_the_sites_fields_are_kept() -> None:
    site: dict[str, Any] = {
        "spec": {
            "nodeSelector": {"pool": "gpu"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "imagePullSecrets": [{"name": "site"}],
        }
    }
    wanted: dict[str, Any] = {
        "nodeSelector": {"pool": "control-plane", "zone": "a"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "imagePullSecrets": [{"name": "team"}],
        "env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s3", "key": "id"}}}],
        "resources": {"requests": {"cpu": 2}, "limits": {"memory": "8Gi"}},
    }
    defaults = TrainerDefaults("i", "nvidia.com/gpu", 60, template=site)
    spec = training_pod(job(podTemplate=wanted), lease(), None, CreatePod(1, 8), defaults)["spec"]
    assert spec["nodeSelector"] == {"pool": "gpu", "zone": "a"}
    assert [toleration["key"] for toleration in spec["tolerations"]] == ["nvidia.com/gpu", "spot"]
    assert [secret["name"] for secret in spec["imagePullSecrets"]] == ["site", "team"]
    container = spec["containers"][0]
    assert container["env"][0] == wanted["env"][0]
    assert container["resources"] == {"requests": {"cpu": 2}, "limits": {"memory": "8Gi", "nvidia.com/gpu": "1"}}


SITE = {"requests": {"cpu": "500m", "memory": "2Gi"}, "limits": {"memory": "8Gi"}}


@pytest.mark.parametrize(
    ("asked", "requests", "limits"),
    [
        (None, {"cpu": "500m", "memory": "2Gi"}, {"memory": "8Gi"}),
        ({"requests": {"cpu": 4}}, {"cpu": 4, "memory": "2Gi"}, {"memory": "8Gi"}),
        ({"limits": {"memory": "1Gi"}}, {"cpu": "500m"}, {"memory": "1Gi"}),  # Kubernetes: the request is the limit
        ({"requests": {"memory": "9Gi"}}, {"cpu": "500m", "memory": "9Gi"}, {}),
    ],
)
def test_a_job_replaces_the_sites_resources_one_by_one(
    asked: dict[str, Any] | None, requests: dict[str, Any], limits: dict[str, Any]
) -> None:
    template = {"spec": {"containers": [{"name": "trainer", "resources": SITE}]}}
    defaults = TrainerDefaults("i", "nvidia.com/gpu", 60, template=template)
    one = job(podTemplate={"resources": asked} if asked else {})
    training = training_pod(one, lease(), None, CreatePod(1, 8), defaults)["spec"]["containers"][0]["resources"]
    assert training == {"requests": requests, "limits": {**limits, "nvidia.com/gpu": "1"}}
    preparing = preparing_pod(one, 1, Place(), defaults)["spec"]["containers"][0]["resources"]
    assert preparing == {"requests": requests, "limits": limits}
