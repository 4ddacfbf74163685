"""The roles in manifests/ are exactly what the code needs, by the API server's audit log of what it called.

That no rule is missing is checked after every test of this layer: the operator always runs with its own rights alone.
"""

from collections.abc import Callable, Iterator
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
from devcluster.scripted.manifests import restricted_pod
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from residency.api.auth import ForbiddenError, UnauthorizedError
from residency.api.token_reviews import TokenReviews
from tests.support.rbac import Grant, granted, wildcards

MANIFESTS = REPOSITORY / "manifests"
ASKED_BY_ADMISSION: set[Grant] = {
    ("gpurelay.dev", "yolotrainingjobs/finalizers", "update"),
    ("scheduling.k8s.io", "priorityclasses", "use"),
}
"""Asked inside the creation of a pod, which is no call of its own: of one that blocks its owner's deletion (see below),
and of one with the PriorityClass gpu-relay (policies/test_priority_class.py).
"""
AFTER_A_DAY: set[Grant] = {("coordination.k8s.io", "leases", "delete")}
"""Used where a GPU is gone for good: `test_gpu_changes.py`."""
TEAM = "vision"
"""Namespace of overlays/namespaced."""


def test_every_rule_is_used(
    cluster: Cluster, world: World, resident: ScriptedResident, start_operator: Callable[..., OperatorProcess]
) -> None:
    operator = start_operator(preparations="1", resync_interval="5")
    used = partial(_used, cluster, "gpu-relay", "gpu-relay", audit.size(cluster.run_dir))
    rights = granted(kustomized(cluster, MANIFESTS / "base"), "gpu-relay")
    _everything_an_operator_does(world, used)
    assert used() >= rights - ASKED_BY_ADMISSION - AFTER_A_DAY - AT_START
    operator.stop()
    operator.start()
    eventually(lambda: used() >= AT_START, "lists and watches at the start")
    assert used() == rights - ASKED_BY_ADMISSION - AFTER_A_DAY


AT_START: set[Grant] = {
    (group, resource, verb)
    for group, resource in (("gpurelay.dev", "yolotrainingjobs"), ("", "pods"))
    for verb in ("list", "watch")
}


def test_no_rule_has_a_wildcard(cluster: Cluster) -> None:
    for overlay in ("base", "overlays/namespaced"):
        assert wildcards(kustomized(cluster, MANIFESTS / overlay)) == []


def test_the_rule_that_only_admission_asks_for_is_needed(cluster: Cluster, world: World, api: httpx.Client) -> None:
    """Where the admission plugin is on, as on OpenShift, no pod could name its job as an owner that waits for it."""
    job = world.apply_job("digits", suspend=True)
    owner = {
        "apiVersion": job["apiVersion"], "kind": job["kind"], "name": "digits", "uid": job["metadata"]["uid"],
        "blockOwnerDeletion": True,
    }  # fmt: skip
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}]
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{world.namespace}"
    api.post(f"{roles}/roles", json={"metadata": {"name": "pods"}, "rules": rules}).raise_for_status()
    binding = {
        "metadata": {"name": "pods"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "pods"},
        "subjects": [{"kind": "User", "name": "without-the-rule"}],
    }
    api.post(f"{roles}/rolebindings", json=binding).raise_for_status()
    pod = {"metadata": {"name": "p", "ownerReferences": [owner]}, "spec": restricted_pod("main", "x")}
    headers = {"Impersonate-User": "without-the-rule"}
    path = f"/api/v1/namespaces/{world.namespace}/pods"
    unowned = {"metadata": {"name": "unowned"}, "spec": pod["spec"]}
    eventually(lambda: api.post(path, json=unowned, headers=headers).is_success, "the role to be in force")
    refused = api.post(path, json=pod, headers=headers)
    assert refused.status_code == 403, refused.text
    assert "cannot set blockOwnerDeletion" in refused.json()["message"]


# One namespace only


@pytest.fixture
def team(cluster: Cluster, api: httpx.Client) -> Iterator[World]:
    """A team's namespace with the rights of overlays/namespaced, and none outside it but to read nodes."""
    objects = kustomized(cluster, MANIFESTS / "overlays" / "namespaced")
    mine = [each for each in objects if each["kind"] != "Deployment"]
    manifest = yaml.safe_dump_all(mine)
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=manifest)
    team = World(api, TEAM)
    team.add_claims("data", "results")
    yield team
    team.empty()
    cluster.kubectl("delete", "--wait=false", "-f", "-", stdin=manifest)


def test_every_rule_of_one_namespace_is_used(cluster: Cluster, team: World, tmp_path: Path) -> None:
    rights = granted(kustomized(cluster, MANIFESTS / "overlays" / "namespaced"), "gpu-relay")
    everywhere = granted(kustomized(cluster, MANIFESTS / "base"), "gpu-relay")
    assert rights == everywhere, "both variants have the same rules, in different places"
    before = audit.size(cluster.run_dir)
    kubeconfig = service_account_kubeconfig(cluster, "gpu-relay", TEAM)
    operator = OperatorProcess(
        kubeconfig,
        tmp_path / "operator.log",
        namespace=TEAM,
        watch_namespace=TEAM,
        preparations="1",
        resync_interval="5",
    )
    resident = ScriptedResident()
    team.add_resident(resident)
    operator.start()
    try:
        _everything_an_operator_does(team, partial(_used, cluster, TEAM, "gpu-relay", before))
    finally:
        operator.stop()
        resident.close()
    called = audit.calls(cluster.run_dir, audit.account(TEAM, "gpu-relay"), before)
    assert {(c.group, c.resource, c.verb) for c in called} == rights - ASKED_BY_ADMISSION - AFTER_A_DAY
    assert not [call for call in called if call.forbidden]
    assert {call.namespace for call in called if call.resource != "nodes"} == {TEAM}


# SAM3


async def test_sam3_may_ask_whose_token_it_is_and_no_more(cluster: Cluster, api: httpx.Client) -> None:
    before = audit.size(cluster.run_dir)
    config = str(service_account_kubeconfig(cluster, "sam3"))
    client = kubernetes.config.new_client_from_config(config)
    reviews = TokenReviews(kubernetes.client.AuthenticationV1Api(client), "gpu-relay", ["gpu-relay:gpu-relay"], "")
    await reviews.check(_token(api, "gpu-relay", audience="gpu-relay"), "10.0.0.1")
    with pytest.raises(UnauthorizedError, match="audience"):
        await reviews.check(_token(api, "gpu-relay", audience="https://kubernetes.default.svc"), "10.0.0.1")
    with pytest.raises(ForbiddenError, match="system:serviceaccount:gpu-relay:sam3 may not"):
        await reviews.check(_token(api, "sam3", audience="gpu-relay"), "10.0.0.1")
    rights = granted(kustomized(cluster, MANIFESTS / "base"), "sam3")
    assert _used(cluster, "gpu-relay", "sam3", before) == rights - ASKED_BY_ADMISSION


def _token(api: httpx.Client, account: str, *, audience: str) -> str:
    path = f"/api/v1/namespaces/gpu-relay/serviceaccounts/{account}/token"
    return str(api.post(path, json={"spec": {"audiences": [audience]}}).json()["status"]["token"])


def _used(cluster: Cluster, namespace: str, account: str, since: int) -> set[Grant]:
    called = audit.calls(cluster.run_dir, audit.account(namespace, account), since)
    return {(call.group, call.resource, call.verb) for call in called}


def _everything_an_operator_does(world: World, used: Callable[[], set[Grant]]) -> None:
    """A preparation, a name that is taken, a silent training on a node, a suspension, a success, an end by ttl."""
    world.create_pod("digits-1")
    world.apply_job("digits", ttlSecondsAfterFinished=0)
    world.shows_pod("digits-1-prepare")
    world.end_pod("digits-1-prepare")
    eventually(lambda: world.waits_for("digits", "PodNameTaken"), "the condition PodNameTaken")
    world.delete_pod("digits-1")
    world.shows_pod("digits-1")
    world.bind_pod("digits-1", "node-1")
    eventually(lambda: ("", "events", "list") in used(), "a look at the Events of the pod that does not start")
    world.run_pod("digits-1")
    world.reaches("digits", "Training")
    eventually(lambda: ("", "nodes", "get") in used(), "a look at the node of the training that says nothing")
    world.patch_job("digits", suspend=True)
    world.delete_as_kubelet("digits-1")
    world.reaches("digits", "Suspended")
    world.patch_job("digits", suspend=False)
    world.shows_pod("digits-2")
    world.end_pod("digits-2")
    eventually(lambda: not world.has_job("digits"), "the job to be deleted")
    eventually(world.no_reload_pending, "the Lease to be settled")
    eventually(lambda: ("", "configmaps", "patch") in used(), "the usage to be archived")
