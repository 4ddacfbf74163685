"""What tenants may have: GPUs that are lent to them, and pods that stay within what the site has set."""

from typing import Any

import pytest

from gpu_relay.domain.decision import CreatePod
from gpu_relay.domain.job.validation import MANAGED_ARGS, objection
from gpu_relay.domain.queue.candidate import lends_to
from gpu_relay.domain.queue.preparation_placement import Place
from gpu_relay.pods.pod_builder import TrainerDefaults, preparing_pod, training_pod
from gpu_relay.settings import Settings
from tests.support.builders import job, lease, resident


@pytest.mark.parametrize(
    ("annotation", "lends"),
    [
        (None, False), ("", False), ("vision", True), (" other , vision ", True), ("*", True),
        ("visionary", False), ("vis*", False), ("VISION", False),
    ],
)  # fmt: skip
def test_a_resident_lends_its_gpu_to_those_it_names(annotation: str | None, lends: bool) -> None:
    annotations = {} if annotation is None else {"gpurelay.dev/allowed-namespaces": annotation}
    lender = resident(annotations=annotations)
    assert lends_to(lender, "vision") is lends
    assert lends_to(lender, "gpu-relay") is True


@pytest.mark.parametrize(
    ("setting", "trusted"), [("", ["gpu-relay"]), ("a, b", ["a", "b"]), ("*", ["a", "b", "gpu-relay"])]
)
def test_whose_pods_may_be_residents(setting: str, trusted: list[str]) -> None:
    settings = Settings(resident_namespaces=setting)
    assert [name for name in ("a", "b", "gpu-relay") if settings.trusts_residents_of(name)] == trusted


def test_what_the_site_has_set_stays() -> None:
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


def test_arguments_fit_into_an_annotation() -> None:
    args = {f"a{number}": "x" * 1000 for number in range(20)}
    assert "room for 16,384" in str(objection(job(training={"args": args})))
    assert objection(job(training={"args": {"lr0": 0.01}})) is None


def test_all_arguments_of_the_relays_own_are_named_at_once() -> None:
    said = objection(job(training={"args": {"epochs": 3, "lr0": 0.1, "resume": True, "data": "coco8.yaml"}}))
    assert said == (
        "the relay sets these arguments itself: training.args.epochs: use spec.training.epochs, training.args.resume: "
        "leave it out: interrupted jobs always resume, training.args.data: use spec.dataset"
    )
    assert len(str(objection(job(training={"args": dict.fromkeys(MANAGED_ARGS, 1)})))) < 1024, "an Event holds all"
