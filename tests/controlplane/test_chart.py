"""The Helm chart is the kustomize base, by Helm's own engine: the same objects, but for what its values change."""

import copy
import os
import re
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
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))


@pytest.fixture(scope="module")
def base(cluster: Cluster) -> dict[Key, Object]:
    return plain(kustomized(cluster, REPOSITORY / "manifests" / "base"))


@pytest.fixture(scope="module")
def everything(cluster: Cluster) -> dict[Key, Object]:
    return plain(kustomized(cluster, CHART / "source"))


def by_name(objects: list[Object]) -> dict[Key, Object]:
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


def plain(objects: list[Object]) -> dict[Key, Object]:
    """Return objects without what rolls the pods (hashes in names of ConfigMaps, or a checksum), the template read."""
    text = re.sub(r"(gpu-relay-settings|trainer-pod-template)-[a-z0-9]{10}\b", r"\1", yaml.safe_dump_all(objects))
    found = by_name(list(yaml.safe_load_all(text)))
    for item in found.values():
        metadata = item.get("spec", {}).get("template", {}).get("metadata", {})
        if metadata.get("annotations", {}).pop("checksum/config", "") and not metadata["annotations"]:
            del metadata["annotations"]
    template = found["ConfigMap", "trainer-pod-template"]["data"]
    template["template.yaml"] = yaml.safe_load(template["template.yaml"])
    return found


def test_the_committed_templates_are_the_generated_ones(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "crds").mkdir()
    command = [sys.executable, str(CHART / "generate.py"), str(tmp_path)]
    source = cluster.kubectl("kustomize", str(CHART / "source"))
    subprocess.run(command, input=source, text=True, check=True)
    made = {file.relative_to(tmp_path): file.read_text() for file in tmp_path.glob("*/*.yaml")}
    committed = (*CHART.glob("templates/*.yaml"), *CHART.glob("crds/*.yaml"))
    assert made == {file.relative_to(CHART): file.read_text() for file in committed}, "run `make chart`"


def test_by_default_it_gives_what_the_base_gives(base: dict[Key, Object]) -> None:
    assert plain(rendered(CHART, "gpu-relay", {"createNamespace": True})) == base


def test_with_all_its_parts_it_gives_what_the_components_give(everything: dict[Key, Object]) -> None:
    """Also the dashboard and the alerts, which have braces of their own."""
    values = {"createNamespace": True, **{part: {"enabled": True} for part in ("page", "monitoring", "kueue")}}
    assert plain(rendered(CHART, "gpu-relay", values)) == everything


@pytest.mark.parametrize("component", ["page", "monitoring", "kueue"])
def test_a_part_is_enabled_alone(base: dict[Key, Object], cluster: Cluster, tmp_path: Path, component: str) -> None:
    folder = tmp_path / "overlay"
    folder.mkdir()
    manifests = os.path.relpath(REPOSITORY / "manifests", folder)
    resources = {"resources": [f"{manifests}/base"], "components": [f"{manifests}/components/{component}"]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(resources))
    expected = plain(kustomized(cluster, folder))
    values = {"createNamespace": True, component: {"enabled": True}}
    assert plain(rendered(CHART, "gpu-relay", values)) == expected
    assert expected.keys() > base.keys()


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
    settings = found["ConfigMap", "gpu-relay-settings"]["data"]
    assert settings["GPU_RELAY_TRAINER_IMAGE"] == f"registry.example/yolo@{digest}"
    assert (settings["GPU_RELAY_MAX_OUTAGE"], settings["GPU_RELAY_LOG_FORMAT"]) == ("600", "json")
    template = yaml.safe_load(found["ConfigMap", "trainer-pod-template"]["data"]["template.yaml"])
    assert template["spec"]["runtimeClassName"] == "nvidia"


def test_where_its_pods_run(base: dict[Key, Object]) -> None:
    placement: Object = {
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {}},
    }
    more: Object = {
        "podLabels": {"team": "ml"},
        "podAnnotations": {"example.org/cost": "42"},
        "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "resources": {"limits": {"memory": "1Gi"}},
    }
    values = {
        "imagePullSecrets": [{"name": "registry"}],
        "operator": {**placement, **more, "priorityClassName": "high"},
        "page": {"enabled": True, **placement, **more},
        "sam3": {**placement, **more, "runtimeClassName": "nvidia", "priorityClassName": "high"},
    }
    found = by_name(rendered(CHART, "gpu-relay", values))
    for name in ("gpu-relay", "gpu-relay-page", "sam3"):
        template = found["Deployment", name]["spec"]["template"]
        spec, [container] = template["spec"], template["spec"]["containers"]
        assert placement.items() <= spec.items()
        assert spec["imagePullSecrets"] == [{"name": "registry"}]
        assert container["env"][-1] == more["env"][0]
        assert container["resources"]["limits"]["memory"] == "1Gi"
        assert template["metadata"]["labels"].items() >= more["podLabels"].items()
        assert template["metadata"]["annotations"].items() >= more["podAnnotations"].items()
        assert spec.get("priorityClassName") == (None if name == "gpu-relay-page" else "high")
        assert spec.get("runtimeClassName") == ("nvidia" if name == "sam3" else None)
    sam3 = found["Deployment", "sam3"]["spec"]["template"]["spec"]["containers"][0]
    assert sam3["resources"]["limits"]["nvidia.com/gpu"] == "1"


@pytest.mark.parametrize(
    ("change", "rolls"),
    [
        ({"operator": {"settings": {"GPU_RELAY_MAX_OUTAGE": 600}}}, True),
        ({"operator": {"trainerPodTemplate": {"spec": {"runtimeClassName": "nvidia"}}}}, True),
        ({"images": {"yolo": {"tag": "0.1.1"}}}, True),
        ({"sam3": {"gpuMemory": 9000}}, False),
    ],
)
def test_a_changed_setting_rolls_the_operator(change: Object, rolls: bool) -> None:
    before, after = (by_name(rendered(CHART, "gpu-relay", each)) for each in ({}, change))
    templates = [each["Deployment", "gpu-relay"]["spec"]["template"] for each in (before, after)]
    assert (templates[0] != templates[1]) == rolls


def test_a_claim_instead_of_the_device_plugin() -> None:
    found = by_name(rendered(CHART, "gpu-relay", {"gpu": {"resourceClaim": "t4"}}))
    spec = found["Deployment", "sam3"]["spec"]["template"]["spec"]
    assert spec["resourceClaims"] == [{"name": "gpu", "resourceClaimName": "t4"}]
    assert spec["containers"][0]["resources"]["claims"] == [{"name": "gpu"}]
    assert "nvidia.com/gpu" not in spec["containers"][0]["resources"]["limits"]
    settings = found["ConfigMap", "gpu-relay-settings"]["data"]
    assert (settings["GPU_RELAY_GPU_RESOURCE"], settings["GPU_RELAY_GPU_RESOURCE_CLAIM"]) == ("", "t4")


def test_a_resource_of_another_name() -> None:
    found = by_name(rendered(CHART, "gpu-relay", {"gpu": {"resource": "nvidia.com/gpu.shared"}}))
    limits = found["Deployment", "sam3"]["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"memory": "12Gi", "nvidia.com/gpu.shared": "1"}
    assert found["ConfigMap", "gpu-relay-settings"]["data"]["GPU_RELAY_GPU_RESOURCE"] == "nvidia.com/gpu.shared"


def test_one_namespace_gives_the_rights_of_the_overlay(cluster: Cluster) -> None:
    """The operator has the rules of overlays/namespaced, and watches its own namespace."""
    overlay = plain(kustomized(cluster, REPOSITORY / "manifests" / "overlays" / "namespaced"))
    values = {"namespaced": True, "clusterObjects": False}
    chart = by_name(rendered(CHART, "vision", values))
    assert _rules(chart["Role", "gpu-relay"]) == _rules(overlay["Role", "gpu-relay"])
    assert _rules(chart["ClusterRole", "gpu-relay.vision"]) == _rules(overlay["ClusterRole", "gpu-relay-nodes.vision"])
    assert not _global(list(chart.values())) & {("ClusterRole", "gpu-relay-edit")}
    watched = {"name": "GPU_RELAY_WATCH_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}
    for found in (chart, overlay):
        assert watched in found["Deployment", "gpu-relay"]["spec"]["template"]["spec"]["containers"][0]["env"]


def _rules(role: Object) -> list[str]:
    return sorted(yaml.safe_dump(rule) for rule in role["rules"])


def test_the_api_servers_ports_and_prometheus(base: dict[Key, Object]) -> None:
    values = {"apiServerPorts": [16443], "monitoring": {"namespace": "observability"}}
    changed = rendered(CHART, "gpu-relay", values | {"createNamespace": True})
    text = yaml.safe_dump(by_name(changed)["NetworkPolicy", "gpu-relay"])
    assert "port: 16443" in text
    assert "6443" not in text.replace("16443", "")
    assert "observability" in text
    assert "monitoring" not in text


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_api_server_takes_an_example(cluster: Cluster, example: Path) -> None:
    """Without what only other operators' CRDs describe."""
    objects = rendered(CHART, "gpu-relay", yaml.safe_load(example.read_text()) | {"createNamespace": True})
    known = [each for each in objects if each["kind"] not in {"PodMonitor", "PrometheusRule"}]
    printed = cluster.kubectl(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump_all(known)
    )
    assert len(printed.splitlines()) == len(known)


def test_there_are_examples() -> None:
    assert {path.stem for path in EXAMPLES} == {"gpu-operator", "gke", "one-team"}


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
        ({"imagePullSecrets": ["registry"]}, "imagePullSecrets"),
        ({"sam3": {"tolerations": [{"efect": "NoSchedule"}]}}, "efect"),
        ({"operator": {"nodeSelector": {"gpu": True}}}, "nodeSelector"),
        ({"operator": {"resources": {"memory": "1Gi"}}}, "memory"),
        ({"apiServerPorts": []}, "apiServerPorts"),
    ],
)
def test_values_that_make_no_sense_are_refused(values: Object, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        rendered(CHART, "gpu-relay", copy.deepcopy(values))
