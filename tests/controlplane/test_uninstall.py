"""The commands of docs/operations.md that upgrade, roll back and uninstall, on a cluster of their own.

No Helm is installed here: what it does is played by its engine and kubectl, and the commands of kubectl beside it run.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from devcluster import Cluster, ClusterError
from devcluster.controlplane import api_client
from devcluster.crds import wait_established
from devcluster.kubectl import find_kubectl
from devcluster.paths import REPOSITORY
from devcluster.scripted.furnished import create_namespace
from devcluster.scripted.manifests import Object, job_manifest, restricted_pod
from devcluster.waiting import eventually
from tests.support.gitops import rendered
from tests.support.pages import Block, page
from tests.support.walk import Walker

MANIFESTS = REPOSITORY / "manifests"
BEFORE = Path(__file__).parent / "before" / "crd.yaml"
"""The CRD of an earlier version."""
CRD = "crd/yolotrainingjobs.gpurelay.dev"
TEAM = "vision"
BLOCKS = [block for block in page("docs/operations.md").blocks if "test_uninstall.py" in block.reason]
UPGRADE, UPGRADE_HELM, ROLL_BACK, DELETE_JOBS, DELETE, DELETE_HELM, LOOK = BLOCKS


@pytest.fixture(scope="module")
def empty() -> Iterator[Cluster]:
    """A cluster with a team's namespace, and nothing of GPU Relay."""
    with Cluster() as cluster:
        with api_client(cluster.run_dir) as api:
            create_namespace(api, TEAM)
        yield cluster


@pytest.fixture
def walker(empty: Cluster, tmp_path: Path) -> Walker:
    """A shell in a copy of the manifests, with the overlay that docs/install.md makes, and kubectl for the cluster."""
    for folder in ("manifests", "crds"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    overlays = tmp_path / "manifests" / "overlays"
    shutil.copytree(overlays / "gpu-node", overlays / "my-cluster")
    path = f"{find_kubectl().parent}{os.pathsep}{os.environ['PATH']}"
    return Walker(tmp_path, {**os.environ, "KUBECONFIG": str(empty.kubeconfig), "PATH": path})


def run(walker: Walker, block: Block) -> str:
    """Run a block's commands, except Helm's; return what they print."""
    printed = ""
    for step in block.shown:
        if not step.command.startswith("helm "):
            code, shown = walker.run(step.command)
            assert code == 0, f"{step.command}\n{shown}"
            printed += shown
    return printed


def inventory(cluster: Cluster) -> set[str]:
    """Return all objects by kind, namespace and name, except Events and what Kubernetes keeps for itself."""
    kinds = cluster.kubectl("api-resources", "--verbs=list", "-o", "name").split()
    wanted = ",".join(kind for kind in kinds if not kind.startswith(("events", "componentstatuses")))
    row = '{range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name}{"\\n"}{end}'
    text = cluster.kubectl("get", wanted, "--all-namespaces", "--ignore-not-found", "-o", f"jsonpath={row}")
    return {line for line in text.splitlines() if "/kube-" not in line}


def install(cluster: Cluster, *arguments: str, objects: list[Object] | None = None) -> None:
    """Apply an install over an earlier version's CRD."""
    text = yaml.safe_dump_all(objects) if objects else None
    cluster.kubectl("apply", "--server-side", *arguments, "-f", str(BEFORE))
    target = ("-f", "-") if objects else ("-k", str(MANIFESTS / "overlays" / "gpu-node"))
    without = "-l=app.kubernetes.io/component!=cluster"
    cluster.kubectl("apply", "--server-side", *arguments, *target, without, stdin=text)
    wait_established(cluster.kubectl, CRD.partition("/")[2])


def start_a_job(api: httpx.Client) -> Object:
    """Create a job in training: with its pod, which has no node here."""
    jobs = f"/apis/gpurelay.dev/v1alpha1/namespaces/{TEAM}/yolotrainingjobs"
    job: Object = eventually(
        lambda: _created(api.post(jobs, json=job_manifest("digits"))), "the API server to know jobs"
    )
    owner = {"apiVersion": job["apiVersion"], "kind": job["kind"], "name": "digits", "uid": job["metadata"]["uid"]}
    labels = {"app.kubernetes.io/name": "yolo-trainer"}
    pod = {"metadata": {"name": "digits-1", "labels": labels, "ownerReferences": [owner]}}
    pods = f"/api/v1/namespaces/{TEAM}/pods"
    api.post(pods, json={**pod, "spec": restricted_pod("trainer", "x")}).raise_for_status()
    return job


def _created(answer: httpx.Response) -> Object | None:
    return answer.json() if answer.is_success else None


def knows_new_fields(cluster: Cluster) -> bool:
    """Return whether the API server has a field that the earlier version's CRD lacks."""
    try:
        return "preparation" in cluster.kubectl("explain", "ytj.status")
    except ClusterError:
        return False  # kubectl has not discovered the kind yet


def spec_of_the_job(cluster: Cluster) -> Object:
    found: Object = yaml.safe_load(cluster.kubectl("-n", TEAM, "get", "ytj", "digits", "-o", "yaml"))["spec"]
    return found


def test_kustomize(empty: Cluster, walker: Walker) -> None:
    before = inventory(empty)
    install(empty)
    empty.kubectl("apply", "-f", str(MANIFESTS / "samples" / "sam3-model.yaml"))
    with api_client(empty.run_dir) as api:
        job = start_a_job(api)
    run(walker, UPGRADE)
    eventually(lambda: knows_new_fields(empty), "the new CRD")
    assert spec_of_the_job(empty) == job["spec"]
    assert "PriorityClass//gpu-relay" in inventory(empty)
    shared = empty.kubectl("get", CRD, "-o", "jsonpath={.metadata.generation}")
    rolled_back = run(walker, ROLL_BACK)
    assert "deployment.apps/gpu-relay serverside-applied" in rolled_back
    assert "customresourcedefinition" not in rolled_back
    assert empty.kubectl("get", CRD, "-o", "jsonpath={.metadata.generation}") == shared
    run(walker, DELETE_JOBS)
    assert not {each for each in inventory(empty) if "digits" in each}
    run(walker, DELETE)
    assert run(walker, LOOK) == ""
    eventually(lambda: inventory(empty) == before, "nothing to be left", within=60)


@pytest.mark.parametrize("creates_namespace", [False, True])
def test_helm(empty: Cluster, walker: Walker, creates_namespace: bool) -> None:
    before = inventory(empty)
    if not creates_namespace:
        empty.kubectl("create", "namespace", "gpu-relay")
    objects = rendered(MANIFESTS / "chart", "gpu-relay", {"createNamespace": creates_namespace})
    release = [each for each in objects if each["kind"] != "CustomResourceDefinition"]
    assert len(release) == len(objects) - 1, "the chart has the CRD in crds/, which Helm never updates or deletes"
    release.sort(key=lambda each: each["kind"] != "Namespace")  # as Helm does
    install(empty, "--field-manager=helm", objects=release)
    with api_client(empty.run_dir) as api:
        job = start_a_job(api)
    run(walker, UPGRADE_HELM)
    eventually(lambda: knows_new_fields(empty), "the new CRD")
    assert spec_of_the_job(empty) == job["spec"]
    run(walker, DELETE_JOBS)
    empty.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=yaml.safe_dump_all(release))
    run(walker, DELETE_HELM)
    assert run(walker, LOOK) == ""
    eventually(lambda: inventory(empty) == before, "nothing to be left", within=60)


def test_what_is_looked_for_is_found(empty: Cluster, walker: Walker) -> None:
    """The command that prints nothing after an uninstall names every object outside the install's namespace before."""
    text = empty.kubectl("kustomize", str(MANIFESTS / "base"))
    outside = {
        f"{each['kind'].lower()}/{each['metadata']['name']}"
        for each in yaml.safe_load_all(text)
        if not each["metadata"].get("namespace") and each["kind"] != "Namespace"
    }
    empty.kubectl("apply", "--server-side", "-k", str(MANIFESTS / "cluster"))
    empty.kubectl("apply", "--server-side", "-k", str(MANIFESTS / "base"))
    lines = [line.split("/") for line in run(walker, LOOK).splitlines()]
    assert {f"{kind.partition('.')[0]}/{name}" for kind, name in lines} == outside
