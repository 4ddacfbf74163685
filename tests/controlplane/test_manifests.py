"""What is shipped installs: every overlay and sample against the real API server, images in one place, who may talk."""

import copy
import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from devcluster import Cluster
from devcluster.paths import REPOSITORY
from devcluster.scripted.furnished import kustomized
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support.gitops import misfits
from tests.support.network import Pod, may_reach

Object = dict[str, Any]
MANIFESTS = REPOSITORY / "manifests"
INSTALLATIONS = ["base", "team", *sorted(f"overlays/{folder.name}" for folder in (MANIFESTS / "overlays").iterdir())]
BEFORE = Path(__file__).parent / "before"
"""The CRD and samples of an earlier version."""
SAMPLES = {
    f"{path.name}:{item['metadata']['name']}": item
    for path in sorted((MANIFESTS / "samples").glob("*.yaml"))
    for item in yaml.safe_load_all(path.read_text())
}
"""Every object of the samples, by its file and name."""
JOBS = [name for name, item in SAMPLES.items() if item["kind"] == "YoloTrainingJob"]
PVCS = [name for name, item in SAMPLES.items() if item["kind"] == "PersistentVolumeClaim"]


@pytest.fixture
def namespaces(api: httpx.Client) -> None:
    """Those that overlays name; one that another test has deleted may still be on its way out."""
    for name in ("vision", "team"):
        eventually(partial(_exists, api, name), f"namespace {name}", within=60)


def _exists(api: httpx.Client, namespace: str) -> bool:
    api.post("/api/v1/namespaces", json={"metadata": {"name": namespace}})
    found = api.get(f"/api/v1/namespaces/{namespace}")
    return found.is_success and found.json()["status"]["phase"] == "Active"


@pytest.mark.parametrize("installation", INSTALLATIONS)
def test_the_api_server_takes_an_installation(cluster: Cluster, namespaces: None, installation: str) -> None:
    text = cluster.kubectl("kustomize", str(MANIFESTS / installation))
    printed = cluster.kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", stdin=text)
    objects = list(yaml.safe_load_all(text))
    assert len(printed.splitlines()) == len(objects)
    without = set(cluster.kubectl("api-resources", "--namespaced=false", "--no-headers", "-o", "wide").split())
    misplaced = [o["metadata"]["name"] for o in objects if o["kind"] in without and o["metadata"].get("namespace")]
    assert not misplaced, "objects of the cluster that name a namespace"


@pytest.mark.parametrize("sample", JOBS)
def test_the_api_server_takes_a_sample_job(world: World, api: httpx.Client, sample: str) -> None:
    _dry_run(api, f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs", sample)


@pytest.mark.parametrize("sample", PVCS)
def test_the_api_server_takes_a_sample_pvc(api: httpx.Client, neighbour: World, sample: str) -> None:
    for name in ("data", "results"):
        neighbour.delete_claim(name)  # `data` and `results` are names of samples, too
    _dry_run(api, f"/api/v1/namespaces/{neighbour.namespace}/persistentvolumeclaims", sample)


def _dry_run(api: httpx.Client, path: str, sample: str) -> None:
    """Create a sample in the namespace of a path, without effect."""
    item = copy.deepcopy(SAMPLES[sample])
    del item["metadata"]["namespace"]
    answer = api.post(path, json=item, params={"dryRun": "All", "fieldValidation": "Strict"})
    assert answer.is_success, answer.text


def test_samples_are_jobs_pvcs_and_pods() -> None:
    """Each kind has its own test: test_copy_pod.py creates the pods."""
    kinds = {item["kind"] for item in SAMPLES.values()}
    assert kinds == {"YoloTrainingJob", "PersistentVolumeClaim", "Pod"}
    assert [name.partition(":")[2] for name in PVCS] == ["sam3-model", "data", "results"]


def test_there_is_a_sample_of_every_task() -> None:
    tasks = {SAMPLES[sample]["spec"].get("task", "detect") for sample in JOBS}
    assert tasks == {"detect", "segment", "classify", "pose", "obb"}


def test_images_are_set_in_one_place(cluster: Cluster, tmp_path: Path) -> None:
    for folder in ("manifests", "crds"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    place = tmp_path / "manifests" / "base" / "kustomization.yaml"
    digest = "sha256:" + "0" * 64
    pinned = re.sub("newTag: 0.1.0", f"newName: registry.example/x\n    digest: {digest}", place.read_text())
    place.write_text(pinned)
    rendered = cluster.kubectl("kustomize", str(tmp_path / "manifests" / "overlays" / "page"))
    images = re.findall(r"(?:image|TRAINER_IMAGE): (\S+)", rendered)
    assert images == [f"registry.example/x@{digest}"] * 4


def test_an_overlay_for_a_gpu_node_sets_every_image(cluster: Cluster) -> None:
    rendered = cluster.kubectl("kustomize", str(MANIFESTS / "overlays" / "gpu-node"))
    images = re.findall(r"(?:image|TRAINER_IMAGE): (\S+)", rendered)
    assert {image.rsplit("/", 2)[0] for image in images} == {"registry.example.org"}
    assert len(images) == 3


@pytest.mark.parametrize("change", ["", "a setting", "the template", "the trainer's image"])
def test_a_changed_setting_rolls_the_operator(cluster: Cluster, tmp_path: Path, change: str) -> None:
    """The pod template names ConfigMaps whose names end in a hash of their contents."""
    for folder in ("manifests", "crds"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    base = tmp_path / "manifests" / "base"
    edits = {
        "a setting": (base / "operator" / "settings.env", "LOG_FORMAT=json", "LOG_FORMAT=text"),
        "the template": (base / "operator" / "trainer-pod-template.yaml", "cpu: 500m", "cpu: 600m"),
        "the trainer's image": (base / "kustomization.yaml", "yolo\n    newTag: 0.1.0", "yolo\n    newTag: 0.1.1"),
    }
    before = _templates(cluster, base)
    if change:
        file, old, new = edits[change]
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))
    after = _templates(cluster, base)
    assert (before["gpu-relay"] != after["gpu-relay"]) == bool(change)
    assert before["sam3"] == after["sam3"], "SAM3 serves on"


def _templates(cluster: Cluster, kustomization: Path) -> dict[str, Object]:
    objects = kustomized(cluster, kustomization)
    return {each["metadata"]["name"]: each["spec"]["template"] for each in objects if each["kind"] == "Deployment"}


def test_the_device_plugin_shares_the_gpus_of_labelled_nodes_only(cluster: Cluster) -> None:
    """With a key `default`, the plugin leaves nodes without a label as they are: gpu-nodes of docs/gpu-sharing.md."""
    text = (MANIFESTS / "gpu-sharing" / "time-slicing.yaml").read_text()
    cluster.kubectl("apply", "--server-side", "--dry-run=server", "-n", "default", "-f", "-", stdin=text)
    keys = {key: yaml.safe_load(value) for key, value in yaml.safe_load(text)["data"].items()}
    assert keys["default"] == {"version": "v1"}
    [shared] = keys["two-shares"]["sharing"]["timeSlicing"]["resources"]
    assert shared == {"name": "nvidia.com/gpu", "replicas": 2}


def test_pod_monitors_are_of_their_type(cluster: Cluster) -> None:
    text = (MANIFESTS / "components" / "monitoring" / "pod-monitors.yaml").read_text()
    monitors = list(yaml.safe_load_all(text))
    assert misfits(monitors) == ["", "", ""]
    base = kustomized(cluster, MANIFESTS / "base")
    deployments = {each["metadata"]["name"]: each for each in base if each["kind"] == "Deployment"}
    for monitor in monitors[:2]:
        template = deployments[monitor["metadata"]["name"]]["spec"]["template"]
        ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]} <= ports
        assert monitor["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()


SYSTEM = {"kubernetes.io/metadata.name": "gpu-relay", "app.kubernetes.io/part-of": "gpu-relay"}
TEAM = {"kubernetes.io/metadata.name": "team"}
OPERATOR = Pod("gpu-relay", {"app.kubernetes.io/name": "gpu-relay"}, SYSTEM)
SAM3 = Pod("gpu-relay", {"app.kubernetes.io/name": "sam3", "gpurelay.dev/resident": "sam3"}, SYSTEM)
TRAINER = Pod(
    "team",
    {
        "app.kubernetes.io/name": "yolo-trainer",
        "app.kubernetes.io/managed-by": "gpu-relay",
        "gpurelay.dev/job": "digits",
    },
    TEAM,
)
NEIGHBOUR = Pod("team", {"app.kubernetes.io/name": "notebook"}, TEAM)
CLIENT = Pod("app", {}, {"kubernetes.io/metadata.name": "app", "gpurelay.dev/sam3-client": "true"})
PROMETHEUS = Pod("monitoring", {}, {"kubernetes.io/metadata.name": "monitoring"})
PODS = {
    "operator": OPERATOR, "sam3": SAM3, "trainer": TRAINER, "neighbour": NEIGHBOUR, "client": CLIENT,
    "prometheus": PROMETHEUS,
}  # fmt: skip
PORTS = {"sam3": 8000, "trainer": 8080, "operator": 8081}
TALKS = {
    ("operator", "sam3"), ("operator", "trainer"), ("trainer", "sam3"), ("client", "sam3"), ("prometheus", "sam3"),
    ("prometheus", "trainer"), ("prometheus", "operator"),
}  # fmt: skip


def test_only_what_must_talk_talks(cluster: Cluster) -> None:
    objects = [*kustomized(cluster, MANIFESTS / "base"), *kustomized(cluster, MANIFESTS / "team")]
    policies = [each for each in objects if each["kind"] == "NetworkPolicy"]
    namespace = next(o for o in objects if o["kind"] == "Namespace" and o["metadata"]["name"] == "gpu-relay")
    assert namespace["metadata"]["labels"]["app.kubernetes.io/part-of"] == SYSTEM["app.kubernetes.io/part-of"]
    found = {
        (one, other)
        for one in PODS
        for other, port in PORTS.items()
        if one != other and may_reach(policies, PODS[one], PODS[other], port)
    }
    assert found == TALKS


def test_an_upgrade_keeps_every_object(cluster: Cluster, world: World, api: httpx.Client) -> None:
    """The CRD and the samples of an earlier version first, then ours over them: nothing is lost, nothing refused."""
    path = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs"
    jobs = [yaml.safe_load((BEFORE / f"{sample}.yaml").read_text()) for sample in ("minimal", "complete")]
    kept = {}
    try:
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(BEFORE / "crd.yaml"))
        for job in jobs:
            job["metadata"]["namespace"] = world.namespace
            api.post(path, json=job).raise_for_status()
            kept[job["metadata"]["name"]] = world.job(job["metadata"]["name"])
    finally:
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(REPOSITORY / "crds"))
    eventually(lambda: "preparation" in cluster.kubectl("explain", "ytj.status"), "the new CRD")
    for name, old in kept.items():
        assert world.job(name)["spec"] == old["spec"]
        assert world.patch_job(name, suspend=True)["spec"] == {**old["spec"], "suspend": True}


def test_the_crd_only_ever_grows() -> None:
    """Every field that the earlier version had is there, and of the same type."""
    files = (BEFORE / "crd.yaml", REPOSITORY / "crds" / "yolotrainingjobs.gpurelay.dev.yaml")
    versions = (yaml.safe_load(file.read_text())["spec"]["versions"][0] for file in files)
    before, after = (_fields(version["schema"]["openAPIV3Schema"]) for version in versions)
    changed = {path for path in before if after.get(path) != before[path]}
    assert changed == {"spec.training.batch"}, "which became a number or `auto`"


def _fields(schema: Object, path: str = "") -> dict[str, str | None]:
    found: dict[str, str | None] = {path.lstrip("."): schema.get("type")}
    for name, child in schema.get("properties", {}).items():
        found |= _fields(child, f"{path}.{name}")
    for part in ("items", "additionalProperties"):
        if part in schema:
            found |= _fields(schema[part], f"{path}[]")
    return found
