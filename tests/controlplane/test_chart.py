"""The Helm chart is the kustomize base, by Helm's own engine: the same objects, but for what its values change."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import Cluster
from devcluster.paths import REPOSITORY
from devcluster.scripted.furnished import kustomized
from tests.support.gitops import rendered

Object = dict[str, Any]
CHART = REPOSITORY / "manifests" / "chart"
Key = tuple[str, str]


@pytest.fixture(scope="module")
def base(cluster: Cluster) -> dict[Key, Object]:
    return by_name(kustomized(cluster, REPOSITORY / "manifests" / "base"))


@pytest.fixture(scope="module")
def with_page(cluster: Cluster) -> dict[Key, Object]:
    return by_name(kustomized(cluster, REPOSITORY / "manifests" / "overlays" / "page"))


def by_name(objects: list[Object]) -> dict[Key, Object]:
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


def test_the_committed_templates_are_the_generated_ones(with_page: dict[Key, Object], tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "crds").mkdir()
    command = [sys.executable, str(CHART / "generate.py"), str(tmp_path)]
    subprocess.run(command, input=yaml.safe_dump_all(with_page.values()), text=True, check=True)
    made = {file.relative_to(tmp_path): file.read_text() for file in tmp_path.glob("*/*.yaml")}
    assert made == {file.relative_to(CHART): file.read_text() for file in CHART.glob("*/*.yaml")}, "run `make chart`"


def test_by_default_it_gives_what_the_base_gives(base: dict[Key, Object]) -> None:
    assert by_name(rendered(CHART, "gpu-relay", {"createNamespace": True})) == base


def test_with_the_page_it_gives_what_the_overlay_gives(with_page: dict[Key, Object]) -> None:
    values = {"createNamespace": True, "page": {"enabled": True}}
    assert by_name(rendered(CHART, "gpu-relay", values)) == with_page


def test_it_installs_into_any_namespace(base: dict[Key, Object]) -> None:
    objects = rendered(CHART, "elsewhere", {})
    assert {each["metadata"].get("namespace", "elsewhere") for each in objects} == {"elsewhere"}
    subjects = [subject for each in objects for subject in each.get("subjects", [])]
    assert subjects
    assert {subject["namespace"] for subject in subjects} == {"elsewhere"}
    assert {_plain(key) for key in by_name(objects)} == base.keys() - {("Namespace", "gpu-relay")}


def _plain(key: Key) -> Key:
    kind, name = key
    return kind, name.removesuffix(".elsewhere")


def test_two_releases_have_nothing_in_common() -> None:
    """The second leaves what a cluster has once to the first; Helm would refuse objects that another release has."""
    first, second = rendered(CHART, "one", {}), rendered(CHART, "two", {"clusterObjects": False})
    once = {key for key, item in by_name(first).items() if _is_shared(item)}
    crd = ("CustomResourceDefinition", "yolotrainingjobs.gpurelay.dev")
    assert _global(first) & _global(second) == {crd}, "which Helm installs where it is missing, and never deletes"
    assert len(by_name(first)) == len(by_name(second)) + len(once - {crd})
    for objects in (first, second):
        bound = {each["roleRef"]["name"] for each in objects if each["kind"] == "ClusterRoleBinding"}
        assert bound <= {name for kind, name in _global(objects) if kind == "ClusterRole"}


def _is_shared(item: Object) -> bool:
    return bool(item["metadata"].get("labels", {}).get("app.kubernetes.io/component") == "cluster")


def _global(objects: list[Object]) -> set[Key]:
    return {key for key, item in by_name(objects).items() if "namespace" not in item["metadata"]}


def test_what_its_values_change(base: dict[Key, Object]) -> None:
    digest = "sha256:" + "0" * 64
    images = {
        name: {"repository": f"registry.example/{name}", "digest": digest} for name in ("operator", "sam3", "yolo")
    }
    values = {
        "images": images,
        "operator": {
            "replicas": 1,
            "settings": {"GPU_RELAY_MAX_OUTAGE": 600},
            "trainerPodTemplate": {"spec": {"runtimeClassName": "nvidia"}},
        },
        "sam3": {"allowedNamespaces": "vision, robots", "modelClaim": "weights", "gpuMemory": 9000, "preload": True},
    }
    found = by_name(rendered(CHART, "gpu-relay", values))
    operator, sam3 = found["Deployment", "gpu-relay"]["spec"], found["Deployment", "sam3"]["spec"]["template"]
    assert operator["replicas"] == 1
    assert operator["template"]["spec"]["containers"][0]["image"] == f"registry.example/operator@{digest}"
    assert sam3["spec"]["containers"][0]["image"] == f"registry.example/sam3@{digest}"
    assert sam3["metadata"]["annotations"]["gpurelay.dev/allowed-namespaces"] == "vision, robots"
    environment = {each["name"]: each.get("value") for each in sam3["spec"]["containers"][0]["env"]}
    assert (environment["SAM3_GPU_MEMORY_MIB"], environment["SAM3_PRELOAD"]) == ("9000", "true")
    assert {"name": "model", "persistentVolumeClaim": {"claimName": "weights"}} in sam3["spec"]["volumes"]
    settings = found["ConfigMap", "gpu-relay"]["data"]
    assert settings["GPU_RELAY_TRAINER_IMAGE"] == f"registry.example/yolo@{digest}"
    assert (settings["GPU_RELAY_MAX_OUTAGE"], settings["GPU_RELAY_LOG_FORMAT"]) == ("600", "json")
    template = yaml.safe_load(found["ConfigMap", "trainer-pod-template"]["data"]["template.yaml"])
    assert template["spec"]["runtimeClassName"] == "nvidia"


def test_what_its_values_leave_out(base: dict[Key, Object]) -> None:
    values = {"sam3": {"enabled": False}, "networkPolicies": False, "admissionPolicies": False}
    left_out = base.keys() - by_name(rendered(CHART, "gpu-relay", values)).keys()
    kinds = {"NetworkPolicy", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "Namespace"}
    assert left_out == {key for key in base if key[0] in kinds or key[1] in {"sam3", "gpu-relay-sam3"}}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"image": {}}, "'image' not allowed"),
        ({"operator": {"replicas": 0}}, "replicas"),
        ({"operator": {"settings": {"LOG": "x"}}}, "LOG"),
        ({"images": {"sam3": {"repository": "x", "digest": "latest"}}}, "digest"),
    ],
)
def test_values_that_make_no_sense_are_refused(values: Object, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        rendered(CHART, "gpu-relay", copy.deepcopy(values))
