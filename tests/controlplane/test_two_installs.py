"""Two teams, each with an install of its own: both work, and removing one leaves the other whole."""

import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import kubernetes
import pytest
import yaml

from devcluster import Cluster, audit
from devcluster.paths import REPOSITORY
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.furnished import kustomized, service_account_kubeconfig
from devcluster.scripted.manifests import Object
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from residency.api.token_reviews import TokenReviews

TEAMS = ("team-one", "team-two")
REPLICA_SETS = {"Impersonate-User": "system:serviceaccount:kube-system:replicaset-controller"}


@pytest.fixture(params=["namespaced", "dra"])
def installs(cluster: Cluster, api: httpx.Client, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Object]:
    """Copies of an overlay, each with a namespace of its own, applied one after the other without their Deployments.

    With DRA, the copies also include its component.
    """
    for folder in ("manifests", "crds"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    overlays = tmp_path / "manifests" / "overlays"
    found = {}
    for team in TEAMS:
        shutil.copytree(overlays / "namespaced", overlays / team)
        file = overlays / team / "kustomization.yaml"
        text = file.read_text().replace("namespace: vision", f"namespace: {team}")
        if request.param == "dra":
            text = text.replace("components/namespaced\n", "components/namespaced\n  - ../../components/dra\n")
            assert "components/dra" in text
        assert f"namespace: {team}" in text
        file.write_text(text)
        found[team] = kustomized(cluster, overlays / team)
        apply(cluster, found[team])
    yield found
    for objects in found.values():
        cluster.kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", stdin=_manifest(objects))
    for team in TEAMS:
        eventually(partial(is_gone, api, f"/api/v1/namespaces/{team}"), f"{team} to go", within=90)


def is_gone(api: httpx.Client, path: str) -> bool:
    return not api.get(path).is_success


COLUMNS = {
    1: ["cluster"],
    2: ["base", "overlays/gpu-node", "overlays/dra", "overlays/page"],
    3: ["overlays/namespaced"],
}
"""Which kustomizations each column of the table in docs/install.md is about."""


def test_objects_outside_the_namespace_are_documented(cluster: Cluster) -> None:
    for column, kustomizations in COLUMNS.items():
        for kustomization in kustomizations:
            objects = kustomized(cluster, REPOSITORY / "manifests" / kustomization)
            found = {key[::2] for key in map(_key, objects) if not key[1]}
            assert found == _said(column), kustomization


def _said(column: int) -> set[tuple[str, str]]:
    """Return kind and name of the objects that a column of the table names: `yes`, or `as` with another name."""
    text = (REPOSITORY / "docs" / "install.md").read_text()
    table = text.split("| object | `manifests/cluster` |")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    said = set()
    for row in rows:
        kinds, names = re.findall("[A-Za-z]+", row[0].split("`")[0]), re.findall("`([^`]+)`", row[0])
        if row[column] != "no":
            said |= {(kind, name) for kind in kinds for name in (re.findall("`([^`]+)`", row[column]) or names)}
    return said


def test_what_the_cluster_shares_stays_when_an_install_goes(cluster: Cluster) -> None:
    """By the selector of docs/install.md."""
    printed = cluster.kubectl(
        "delete", "--dry-run=server", "--ignore-not-found", "-k", str(REPOSITORY / "manifests" / "base"),
        "-l", "app.kubernetes.io/component!=cluster",
    )  # fmt: skip
    assert 'clusterrolebinding.rbac.authorization.k8s.io "gpu-relay-sam3" deleted' in printed
    kinds = {line.split(".")[0].split()[0] for line in printed.splitlines()}
    assert not kinds & {"customresourcedefinition", "priorityclass", "validatingadmissionpolicy"}
    assert "gpu-relay-edit" not in printed


def apply(cluster: Cluster, objects: list[Object]) -> None:
    """Apply an install as its team does; a forced conflict would take the object of another install."""
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=_manifest(objects))


def _manifest(objects: list[Object]) -> str:
    return yaml.safe_dump_all([each for each in objects if each["kind"] != "Deployment"])


async def test_both_work_and_one_survives_the_other(
    cluster: Cluster, api: httpx.Client, installs: dict[str, list[Object]], tmp_path: Path
) -> None:
    for team in TEAMS:
        await sam3_accepts_its_operator(cluster, api, team)
        pods_are_created(api, installs[team], team)
        a_job_trains(cluster, api, team, tmp_path / team)
    shared = {_key(each) for each in kustomized(cluster, REPOSITORY / "manifests" / "cluster")}
    one, other = ({_key(each) for each in installs[team]} for team in TEAMS)
    assert not one & other, "objects of both"
    assert not (one | other) & shared, "what the cluster has once"
    cluster.kubectl("delete", "--wait=false", "-f", "-", stdin=_manifest(installs["team-one"]))
    await sam3_accepts_its_operator(cluster, api, "team-two")
    pods_are_created(api, installs["team-two"], "team-two")
    a_job_trains(cluster, api, "team-two", tmp_path / "survivor")


def _key(item: Object) -> tuple[str, str, str]:
    return item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]


async def sam3_accepts_its_operator(cluster: Cluster, api: httpx.Client, team: str) -> None:
    """By the server's own code, with the rights of its account: raises where the token cannot be reviewed."""
    client = kubernetes.config.new_client_from_config(str(service_account_kubeconfig(cluster, "sam3", team)))
    reviews = TokenReviews(kubernetes.client.AuthenticationV1Api(client), "gpu-relay", [f"{team}:gpu-relay"], "")
    await reviews.check(_token(api, team), "10.0.0.1")


def _token(api: httpx.Client, team: str) -> str:
    """Return a token as the operator's pod has one."""
    path = f"/api/v1/namespaces/{team}/serviceaccounts/gpu-relay/token"
    return str(api.post(path, json={"spec": {"audiences": ["gpu-relay"]}}).json()["status"]["token"])


def pods_are_created(api: httpx.Client, objects: list[Object], team: str) -> None:
    """The pods of the install's Deployments, by the controller that creates them."""
    templates = [each["spec"]["template"] for each in objects if each["kind"] == "Deployment"]
    assert len(templates) == 2
    for template in templates:
        pod = {**template, "metadata": {**template["metadata"], "generateName": "pod-"}}
        path = f"/api/v1/namespaces/{team}/pods"
        answer = api.post(path, json=pod, headers=REPLICA_SETS, params={"dryRun": "All"})
        assert answer.is_success, answer.text


def a_job_trains(cluster: Cluster, api: httpx.Client, team: str, folder: Path) -> None:
    """The install's operator, with the rights of its account, takes a job to its end."""
    folder.mkdir()
    world = World(api, team)
    world.add_claims("data", "results")
    resident = ScriptedResident()
    world.add_resident(resident)
    kubeconfig = service_account_kubeconfig(cluster, "gpu-relay", team)
    operator = OperatorProcess(kubeconfig, folder / "operator.log", namespace=team, watch_namespace=team)
    before = audit.size(cluster.run_dir)
    operator.start()
    try:
        world.apply_job("digits")
        world.shows_pod("digits-1")
        world.end_pod("digits-1")
        world.reaches("digits", "Succeeded")
        eventually(lambda: resident.loaded, "the resident to be loaded")
    finally:
        operator.stop()
        resident.close()
        world.empty()
    called = audit.calls(cluster.run_dir, audit.account(team, "gpu-relay"), before)
    assert called
    assert not [call for call in called if call.forbidden]
