"""The samples for Flux and Argo CD: fields that the tools know, paths that exist, no job that holds back a commit."""

import copy
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from devcluster import Cluster, binaries
from devcluster.crds import wait_established
from devcluster.paths import REPOSITORY
from devcluster.scripted.manifests import Object
from devcluster.scripted.world import World
from tests.support.gitops import GITOPS, misfits, rendered


def objects(tool: str, name: str) -> dict[str, Object]:
    """Return the objects of a sample, by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all((GITOPS / tool / f"{name}.yaml").read_text())}


FLUX = sorted(file.stem for file in (GITOPS / "flux").glob("*.yaml"))
ARGO_CD = sorted(file.stem for file in (GITOPS / "argocd").glob("*.yaml"))


def test_each_tool_has_a_sample_of_operator_and_jobs() -> None:
    assert FLUX == ["jobs", "operator", "operator-helm", "watched-job"]
    assert ARGO_CD == ["jobs", "operator"]


@pytest.mark.parametrize("sample", FLUX)
def test_flux_samples_are_of_their_types(sample: str) -> None:
    """By Flux's own Go types; a field that they lack is an error."""
    found = list(objects("flux", sample).values())
    assert misfits(found) == [""] * len(found)
    for item in found:
        wrong = {**item, "spec": {**item["spec"], "Suspend": True}}
        assert 'unknown field "spec.Suspend"' in misfits([wrong])[0]


@pytest.fixture(scope="module")
def argo_cd(cluster: Cluster) -> Iterator[None]:
    """Argo CD's CRD, without Argo CD."""
    crd = binaries.upstream_folder(binaries.ARGO_CD) / "manifests" / "crds" / "application-crd.yaml"
    cluster.kubectl("apply", "--server-side", "-f", str(crd))
    wait_established(cluster.kubectl, "applications.argoproj.io")
    yield
    cluster.kubectl("delete", "--wait=false", "-f", str(crd))


@pytest.mark.parametrize("sample", ARGO_CD)
def test_argo_cd_samples_are_of_their_type(api: httpx.Client, world: World, argo_cd: None, sample: str) -> None:
    """By the schema of Argo CD's CRD; the API server refuses a field that it lacks."""
    item = objects("argocd", sample)["Application"]
    answer = _create_application(api, world, item)
    assert answer.is_success, answer.text
    wrong = copy.deepcopy(item)
    wrong["spec"]["syncPolicy"]["automated"]["selfheal"] = True
    refused = _create_application(api, world, wrong)
    assert refused.status_code == 400
    assert 'unknown field "spec.syncPolicy.automated.selfheal"' in refused.json()["message"]


def _create_application(api: httpx.Client, world: World, item: Object) -> httpx.Response:
    moved = {**item, "metadata": {**item["metadata"], "namespace": world.namespace}}
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{world.namespace}/applications"
    return api.post(path, json=moved, params={"dryRun": "All", "fieldValidation": "Strict"})


def test_paths_of_the_operator_exist() -> None:
    kustomization = objects("flux", "operator")["Kustomization"]["spec"]["path"]
    application = objects("argocd", "operator")["Application"]["spec"]["source"]["path"]
    for path in (kustomization, application):
        assert (REPOSITORY / path / "kustomization.yaml").is_file(), path
    chart = objects("flux", "operator-helm")["HelmRelease"]["spec"]["chart"]["spec"]["chart"]
    assert (REPOSITORY / chart / "Chart.yaml").is_file()


def test_sources_are_those_of_the_samples() -> None:
    """Each Kustomization and HelmRelease names a GitRepository of a sample, and depends on what a sample has."""
    samples = [objects("flux", sample) for sample in FLUX]
    repositories = {sample["GitRepository"]["metadata"]["name"] for sample in samples if "GitRepository" in sample}
    kustomizations = [sample["Kustomization"] for sample in samples if "Kustomization" in sample]
    names = {item["metadata"]["name"] for item in kustomizations}
    for item in kustomizations:
        assert item["spec"]["sourceRef"]["name"] in repositories
        assert {each["name"] for each in item["spec"].get("dependsOn", [])} <= names
    release = objects("flux", "operator-helm")["HelmRelease"]["spec"]["chart"]["spec"]
    assert release["sourceRef"]["name"] in repositories
    watched = objects("flux", "watched-job")
    sources = [each["name"] for each in watched["Alert"]["spec"]["eventSources"]]
    assert sources == [watched["Kustomization"]["metadata"]["name"]]
    assert watched["Alert"]["spec"]["providerRef"]["name"] == watched["Provider"]["metadata"]["name"]


def test_the_helm_release_updates_the_crd_and_has_values_of_the_chart() -> None:
    spec = objects("flux", "operator-helm")["HelmRelease"]["spec"]
    assert {spec[step]["crds"] for step in ("install", "upgrade")} == {"CreateReplace"}
    found = rendered(REPOSITORY / spec["chart"]["spec"]["chart"], spec["targetNamespace"], spec["values"])
    namespaces = [each["metadata"]["name"] for each in found if each["kind"] == "Namespace"]
    assert namespaces == [spec["targetNamespace"]], "no install creates the namespace twice, or not at all"
    assert "createNamespace" not in spec["install"]


def test_jobs_come_after_the_operator_and_hold_nothing_back() -> None:
    """With `wait`, Flux applies no further commit while a job trains."""
    operator, jobs = (objects("flux", name)["Kustomization"]["spec"] for name in ("operator", "jobs"))
    assert operator["wait"] is True
    assert operator["timeout"].endswith("m"), "minutes"
    assert jobs["dependsOn"] == [{"name": "gpu-relay"}]
    assert jobs["wait"] is False
    assert "healthChecks" not in jobs, "it would wait for these"


def test_one_watched_job_holds_back_only_its_own_folder() -> None:
    watched, jobs = (objects("flux", name)["Kustomization"]["spec"] for name in ("watched-job", "jobs"))
    assert watched["wait"] is True
    assert watched["timeout"].endswith("h"), "a job waits for its turn, and trains"
    assert watched["sourceRef"] == jobs["sourceRef"]
    assert not Path(watched["path"]).is_relative_to(jobs["path"]), "both would apply and prune the same job"


def test_removing_what_installs_the_operator_keeps_the_jobs() -> None:
    """The CRD is a part of it: were it deleted, every job would be."""
    assert objects("flux", "operator")["Kustomization"]["spec"]["deletionPolicy"] == "Orphan"
    assert "finalizers" not in objects("argocd", "operator")["Application"]["metadata"]


def test_argo_cd_applies_jobs_in_an_application_of_their_own() -> None:
    """A sync waits for the health of each wave but the last, and for that of all before a hook after the sync."""
    operator, jobs = (objects("argocd", name)["Application"] for name in ("operator", "jobs"))
    assert operator["metadata"]["name"] != jobs["metadata"]["name"]
    options = jobs["spec"]["syncPolicy"]["syncOptions"]
    assert "SkipDryRunOnMissingResource=true" in options, "the CRD is in another Application"
    for each in (operator, jobs):
        assert "ServerSideApply=true" in each["spec"]["syncPolicy"]["syncOptions"]
