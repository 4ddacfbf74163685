"""From manifests to weights, by both ways to install: copy data in, train, upgrade, copy weights out, uninstall.

The commands are those of docs/install.md, docs/data.md and docs/operations.md. The node has a label and a taint, pods
have a pull secret, and the team's namespace has `restricted` Pod Security and a quota on compute.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from demo.recipe import DEMO
from demo.relay import NAMESPACE, SYSTEM, Relay
from devcluster import Cluster, ClusterError, NodeKind, choose
from devcluster.crds import wait_established
from devcluster.deploy import PYTHONPATH, Volumes
from devcluster.images import IMAGES, INSTALLED, select
from devcluster.scripted.manifests import Object, job_manifest
from devcluster.waiting import eventually
from tests.support.installers import JOBS_ARE_COUNTED, PULL_SECRETS, Chart, Installer, Kustomize, Release
from tests.support.installing import (
    CRD,
    DELETE_JOBS,
    EARLIER_CRD,
    LOOK,
    call,
    inventory,
    marked,
    open_shell,
    run,
)
from tests.support.network import Pod, may_reach
from tests.support.pages import page
from tests.support.storage import add_storage, bind_the_ledger
from tests.support.walk import Walker

DATA_PAGE = page("docs/data.md")
VOLUMES, COPY_IN, FETCH, CHECKSUM, SAM3_WEIGHTS = [
    block for block in DATA_PAGE.blocks if "test_manifests_to_weights.py" in block.reason
]
LEFT_IN_THE_TEAM = (
    "kubectl -n vision delete pvc data results",
    "kubectl -n vision delete secret registry",
    "kubectl -n vision delete networkpolicy/yolo-trainer resourcequota/gpu-relay-jobs",
    "kubectl label namespace vision gpurelay.dev/gpu-access-",
)
"""Commands of docs/operations.md."""
QUOTA = {"requests.cpu": "2", "requests.memory": "8Gi"}
CHANGED = {"GPU_RELAY_MAX_OUTAGE": "900"}
LOAD = (
    "from ultralytics import YOLO; model = YOLO('best.pt'); "
    "model.predict('digits/images/val/0000.png', imgsz=128, verbose=False); print(*model.names.values())"
)


@dataclass(frozen=True)
class Site:
    """A cluster with one GPU node and storage, and a user's machine with the manifests and the files to copy in."""

    cluster: Cluster
    shell: Walker
    relay: Relay


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    choice = choose.choose(os.environ.get(choose.VARIABLE), choose.look())
    if choice.node is not NodeKind.KUBELET:
        pytest.skip(f"copying and the images need a kubelet: {choice}")
    with Cluster(choice.node) as cluster:
        cluster.load_images()
        cluster.kubectl("label", "node", cluster.node_name, "nvidia.com/gpu.present=true")
        cluster.kubectl("taint", "node", cluster.node_name, "nvidia.com/gpu=present:NoSchedule")
        volumes = Volumes(cluster.ledger.parent / "volumes")  # pods cannot enter pytest's own folders
        add_storage(cluster, volumes)
        yield Site(cluster, _users_machine(tmp_path, cluster), Relay(cluster, volumes))


def _users_machine(folder: Path, cluster: Cluster) -> Walker:
    """Return a shell beside the data set, SAM3's weights and the samples with the site's image and pull secret."""
    shell = open_shell(folder, cluster)
    shell.environment |= {"REGISTRY_HOST": "registry.example.org", "REGISTRY_USER": "u", "REGISTRY_PASSWORD": "p"}
    shell.environment |= {"YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "1"}
    DEMO.make_images(folder / "digits")
    variables = f"PYTHONPATH={PYTHONPATH} HF_HUB_DISABLE_PROGRESS_BARS=1"
    call(shell, f"{variables} {sys.executable} -m sam3_server make-tiny-model sam3")
    for name in ("copy-pod.yaml", "sam3-copy-pod.yaml"):
        file = folder / "manifests" / "samples" / name
        pod = yaml.safe_load(file.read_text())
        pod["spec"]["imagePullSecrets"] = [{"name": "registry"}]
        pod["spec"]["containers"][0]["image"] = IMAGES["yolo"].reference
        file.write_text(yaml.safe_dump(pod))
    return shell


@pytest.fixture(autouse=True)
def report_on_failure(site: Site, request: pytest.FixtureRequest) -> Iterator[None]:
    """Show jobs, pods and the operator's log when the test has failed."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        print(site.relay.report())


@pytest.mark.parametrize(("way", "epochs"), [(Kustomize, None), (Chart, 1)], ids=["kustomize", "chart"])
def test_from_manifests_to_weights(
    site: Site, way: Callable[[Walker], Installer], epochs: int | None, photograph: Path
) -> None:
    """One of the ways trains the sample as it is, the other for one epoch."""
    before, installer = inventory(site.cluster), way(site.shell)
    older, newer = _releases()
    spec = leave_an_earlier_version(site, installer.manager)
    run(site.shell, PULL_SECRETS)
    bind_the_ledger(site.cluster)
    installer.install(older)
    run(site.shell, SAM3_WEIGHTS)
    call(site.shell, f"kubectl -n {SYSTEM} rollout status deployment/sam3")
    eventually(lambda: counts_jobs(site), "Kubernetes to count jobs for quotas", within=90)
    grant_the_team(site)
    run(site.shell, VOLUMES)
    run(site.shell, COPY_IN)
    run(site.shell, JOBS_ARE_COUNTED)
    site.relay.load_sam3(photograph)
    with site.relay.watched():
        start_the_sample(site, epochs)
        installer.upgrade(newer)
        is_upgraded(site, newer)
        accuracy = completed(site, "first")["results"]["metrics"]["mAP50"]
    assert epochs or accuracy >= 0.7
    site.relay.is_back()
    earlier_job_trains(site, spec)
    fetch_the_weights(site)
    installer_leaves_nothing(site, installer)
    call(site.shell, "kubectl delete --ignore-not-found -k manifests/vision")
    eventually(lambda: inventory(site.cluster) == before, "nothing to be left", within=60)


def _releases() -> tuple[Release, Release]:
    """Return two versions: images with other tags, and a changed setting."""
    images = select(INSTALLED)
    older = Release({each.name: each.reference for each in images})
    return older, Release({each.name: each.keyed for each in images}, CHANGED)


def leave_an_earlier_version(site: Site, manager: str) -> Object:
    """Apply the CRD of an earlier version, and create a suspended job of it; return the job's spec."""
    kubectl = site.cluster.kubectl
    kubectl("apply", "--server-side", f"--field-manager={manager}", "-f", str(EARLIER_CRD))
    kubectl("create", "namespace", NAMESPACE)
    wait_established(kubectl, CRD)
    training = {"epochs": 1, "imageSize": 64, "batch": 8, "args": {"workers": 0, "plots": False}}
    job = job_manifest("earlier", training=training, suspend=True)
    eventually(lambda: _created(site, job), "the API server to know jobs")
    return dict(site.relay.job("earlier")["spec"])


def _created(site: Site, job: Object) -> bool:
    try:
        site.cluster.kubectl("-n", NAMESPACE, "create", "-f", "-", stdin=json.dumps(job))
    except ClusterError:
        return False
    return True


def counts_jobs(site: Site) -> bool:
    """Return whether a new quota counts jobs: Kubernetes looks for new kinds twice a minute.

    A quota that is created earlier counts after its next resync only, up to five minutes later.
    """
    kubectl = site.cluster.kubectl
    kubectl("create", "quota", "probe", f"--hard=count/{CRD}=1")
    try:
        kubectl("wait", "quota/probe", "--for=jsonpath={.status.used}", "--timeout=3s")
    except ClusterError:
        return False
    finally:
        kubectl("delete", "quota", "probe")
    return True


def grant_the_team(site: Site) -> None:
    """Apply manifests/team in the team's namespace, and a quota on compute."""
    folder = site.shell.folder / "manifests" / NAMESPACE
    folder.mkdir()
    resources = {"namespace": NAMESPACE, "resources": ["../team", "compute.yaml"]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(resources))
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "compute"}, "spec": {"hard": QUOTA}}
    (folder / "compute.yaml").write_text(yaml.safe_dump(quota))
    call(site.shell, f"kubectl apply --server-side -k manifests/{NAMESPACE}")


def start_the_sample(site: Site, epochs: int | None) -> None:
    """Apply the first sample, with fewer epochs if any are given; return when its training pod runs."""
    file = site.shell.folder / "manifests" / "samples" / "first-training.yaml"
    if epochs:
        job = yaml.safe_load(file.read_text())
        job["spec"]["training"]["epochs"] = epochs
        file.write_text(yaml.safe_dump(job))
    call(site.shell, "kubectl apply -f manifests/samples/first-training.yaml")
    site.relay.trains("first")
    pods = items_of(site, "pods")
    have_the_pull_secret(site, pods)
    reach_each_other(site, {pod["metadata"]["labels"]["app.kubernetes.io/name"]: pod for pod in pods})


def have_the_pull_secret(site: Site, pods: list[Object]) -> None:
    """Check that all pods name the Secret, and that the kubelet found it."""
    assert [pod for pod in pods if pod["spec"].get("imagePullSecrets") != [{"name": "registry"}]] == []
    missed = site.cluster.kubectl("get", "events", "-A", "--field-selector=reason=FailedToRetrieveImagePullSecret")
    assert missed == "", "the kubelet reports Secrets that it does not find"


def reach_each_other(site: Site, pods: dict[str, Object]) -> None:
    """Check the NetworkPolicies of the cluster, which its network does not enforce."""
    labels = {item["metadata"]["name"]: item["metadata"]["labels"] for item in items_of(site, "namespaces")}
    operator, sam3, trainer = (
        Pod(metadata["namespace"], metadata["labels"], labels[metadata["namespace"]])
        for metadata in (pods[name]["metadata"] for name in ("gpu-relay", "sam3", "yolo-trainer"))
    )
    policies = items_of(site, "networkpolicies")
    assert may_reach(policies, operator, sam3, 8000)
    assert may_reach(policies, trainer, sam3, 8000), "the trainer renews its hold"
    assert may_reach(policies, operator, trainer, 8080), "the operator reads the progress"
    assert not may_reach(policies, sam3, trainer, 8080)


def items_of(site: Site, kind: str) -> list[Object]:
    return list(json.loads(site.cluster.kubectl("get", kind, "--all-namespaces", "-o", "json"))["items"])


def is_upgraded(site: Site, release: Release) -> None:
    """Check that operator and SAM3 run the images of the release, and the operator has its settings."""
    wanted = {release.images["operator"], release.images["sam3"]}
    eventually(lambda: _images(site) == wanted, "the pods of the older version to end", within=90)
    for name, value in release.settings.items():
        shown = site.cluster.kubectl("-n", SYSTEM, "exec", "deployment/gpu-relay", "--", "printenv", name)
        assert shown.strip() == value


def _images(site: Site) -> set[str]:
    pods = [pod for pod in items_of(site, "pods") if pod["metadata"]["namespace"] == SYSTEM]
    return {container["image"] for pod in pods for container in pod["spec"]["containers"]}


def completed(site: Site, name: str) -> Object:
    """Wait until a job has succeeded in one attempt; return its status."""
    site.relay.reaches(name, "Succeeded", "Failed", within=900)
    status: Object = site.relay.job(name)["status"]
    assert [attempt["reason"] for attempt in status["attempts"]] == ["Completed"], status
    return status


def earlier_job_trains(site: Site, spec: Object) -> None:
    """Resume the job of the earlier version: its spec is the same, and it trains."""
    assert site.relay.job("earlier")["spec"] == spec
    site.relay.patch("earlier", suspend=False)
    completed(site, "earlier")
    site.relay.is_back()


def fetch_the_weights(site: Site) -> None:
    """Copy the weights out; they are what the manifest says, and Ultralytics loads them."""
    start, ready, *_, delete = COPY_IN.shown
    for step in (start, ready):
        call(site.shell, step.command)
    assert run(site.shell, FETCH).startswith("first/weights/best.pt\n")
    call(site.shell, delete.command)
    summed, _, listed = run(site.shell, CHECKSUM).partition("  best.pt\n")
    manifest = json.loads((site.shell.folder / "first" / "manifest.json").read_text())
    assert len(summed) == 64
    assert summed in listed
    assert manifest["files"]["weights/best.pt"]["sha256"] == summed
    assert call(site.shell, f'env -u PYTHONPATH {sys.executable} -c "{LOAD}"').splitlines()[-1] == "0 1 2 3 4 5 6 7 8 9"


def installer_leaves_nothing(site: Site, installer: Installer) -> None:
    """Uninstall; nothing of GPU Relay is in the cluster or on the GPU, also while the team's namespace stays."""
    run(site.shell, DELETE_JOBS)
    installer.uninstall()
    text = page("docs/operations.md").path.read_text()
    for command in LEFT_IN_THE_TEAM:
        assert command in text
        call(site.shell, command)
    assert run(site.shell, LOOK) == ""
    assert marked(site.cluster) == set()
    eventually(lambda: site.relay.used_mib() == 0, "the GPU's memory to be free")
