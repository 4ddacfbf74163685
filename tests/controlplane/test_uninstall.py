"""The commands of docs/operations.md that upgrade, roll back and uninstall, on a cluster of their own.

No Helm is installed here: what it does is played by its engine and kubectl, and the commands of kubectl beside it run.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from devcluster import Cluster, ClusterError
from devcluster.controlplane import api_client
from devcluster.crds import wait_established
from devcluster.scripted.furnished import create_namespace
from devcluster.scripted.manifests import Object, job_manifest, restricted_pod
from devcluster.waiting import eventually
from tests.support.gitops import rendered
from tests.support.installing import (
    CRD,
    DELETE,
    DELETE_HELM,
    DELETE_JOBS,
    EARLIER_CRD,
    LOOK,
    MANIFESTS,
    ROLL_BACK,
    UPGRADE,
    UPGRADE_HELM,
    inventory,
    open_shell,
    run,
)
from tests.support.walk import Walker

TEAM = "vision"


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
    shell = open_shell(tmp_path, empty)
    overlays = tmp_path / "manifests" / "overlays"
    shutil.copytree(overlays / "gpu-node", overlays / "my-cluster")
    return shell


def install(cluster: Cluster, *arguments: str, objects: list[Object] | None = None) -> None:
    """Apply an install over an earlier version's CRD."""
    text = yaml.safe_dump_all(objects) if objects else None
    cluster.kubectl("apply", "--server-side", *arguments, "-f", str(EARLIER_CRD))
    target = ("-f", "-") if objects else ("-k", str(MANIFESTS / "overlays" / "gpu-node"))
    without = "-l=app.kubernetes.io/component!=cluster"
    cluster.kubectl("apply", "--server-side", *arguments, *target, without, stdin=text)
    wait_established(cluster.kubectl, CRD)


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
    shared = empty.kubectl("get", f"crd/{CRD}", "-o", "jsonpath={.metadata.generation}")
    rolled_back = run(walker, ROLL_BACK)
    assert "deployment.apps/gpu-relay serverside-applied" in rolled_back
    assert "customresourcedefinition" not in rolled_back
    assert empty.kubectl("get", f"crd/{CRD}", "-o", "jsonpath={.metadata.generation}") == shared
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
