"""What a namespace's jobs may have: limits by annotations of the namespace, GPUs of residents that are lent to it."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.manifests import Object, job_manifest
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support.tenant import Tenant, annotate_namespace

Start = Callable[..., OperatorProcess]
LIMITS: dict[str, str | None] = {
    "gpurelay.dev/max-priority": "10",
    "gpurelay.dev/service-accounts": "default, trainer",
    "gpurelay.dev/images": "registry.example/yolo:, registry.example/team/",
    "gpurelay.dev/tolerations": "nvidia.com/gpu",
}


@pytest.fixture
def tenant(world: World, api: httpx.Client) -> Tenant:
    return Tenant(api, world.namespace)


@pytest.fixture
def limited(tenant: Tenant, api: httpx.Client) -> Tenant:
    """A tenant of a namespace with every limit set."""
    annotate_namespace(api, tenant.namespace, LIMITS)
    eventually(lambda: _refused(tenant.create("digits", priority=11)), "the limits to be in force")
    return tenant


def pod(**template: Any) -> Object:
    return {"podTemplate": template}


LIMITED: dict[str, tuple[Object, str]] = {
    "priority": ({"priority": 11}, "priority 11 is above the limit of namespace"),
    "account": (pod(serviceAccountName="admin"), "serviceAccountName admin is not allowed for jobs of namespace"),
    "image": (pod(image="registry.example/yolox"), "use an image that begins with one of"),
    "toleration": (pod(tolerations=[{"key": "reserved", "operator": "Exists"}]), "may tolerate only these taints"),
}


def test_limits_of_a_namespace(limited: Tenant, api: httpx.Client) -> None:
    for spec, sentence in LIMITED.values():
        answer = limited.create("digits", **spec)
        assert answer.status_code == 403, answer.text
        assert sentence in answer.json()["message"]
    allowed: Object = {
        "priority": 10,
        "podTemplate": {
            "image": "registry.example/team/yolo",
            "serviceAccountName": "trainer",
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        },
    }
    assert limited.create("digits", **allowed).is_success
    job = f"{limited.jobs}/digits"
    assert limited.call("PATCH", job, {"spec": {"priority": 11}}).status_code == 403
    tighter: dict[str, str | None] = {
        "gpurelay.dev/max-priority": None,
        "gpurelay.dev/images": "other",
        "gpurelay.dev/service-accounts": "x",
    }
    annotate_namespace(api, limited.namespace, tighter)
    eventually(lambda: _refused(limited.create("two", priority=1)), "the tighter limits")
    changed = limited.call("PATCH", job, {"spec": {"suspend": True, "priority": 9}})
    assert changed.is_success, f"what a job had before it may keep, and less: {changed.text}"


def test_by_default_no_job_goes_before_other_namespaces(tenant: Tenant, api: httpx.Client) -> None:
    annotate_namespace(api, tenant.namespace, {"gpurelay.dev/max-priority": None})
    answer = eventually(lambda: _refused(tenant.create("digits", priority=1)), "the default to be in force")
    assert "raise the annotation gpurelay.dev/max-priority" in answer.json()["message"]
    assert tenant.create("digits", priority=-1).is_success


def test_what_is_not_refused_is_dropped(
    tenant: Tenant, world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    """Clients other than kubectl may ask the API server to drop what it does not know: nothing of it is in the pod."""
    spec = pod(hostNetwork=True, volumes=[{"name": "root", "hostPath": {"path": "/"}}], priorityClassName="x")
    answer = tenant.call("POST", tenant.jobs, job_manifest("digits", **spec), strict=False)
    assert answer.is_success
    assert answer.json()["spec"].get("podTemplate", {}) == {}
    world.shows_pod("digits-1")
    built = world.training_pods()[0]["spec"]
    assert not built.get("hostNetwork")
    assert not [volume for volume in built["volumes"] if "hostPath" in volume]
    assert "priorityClassName" not in built


# Residents


@pytest.fixture
def elsewhere(api: httpx.Client, world: World) -> Iterator[World]:
    """Another team's namespace."""
    name = f"{world.namespace[:40]}-other"
    api.post("/api/v1/namespaces", json={"metadata": {"name": name}}).raise_for_status()
    eventually(lambda: api.get(f"/api/v1/namespaces/{name}/serviceaccounts/default").is_success, "the default account")
    elsewhere = World(api, name)
    yield elsewhere
    elsewhere.empty()
    api.delete(f"/api/v1/namespaces/{name}")


def test_a_resident_is_lent_to_the_namespaces_that_it_names(
    world: World, elsewhere: World, operator: OperatorProcess
) -> None:
    resident = ScriptedResident()
    elsewhere.add_resident(resident, annotations={"gpurelay.dev/allowed-namespaces": "somebody, else"})
    world.apply_job("digits")
    condition = eventually(lambda: world.waits_for("digits", "NoGpuFits"), "the condition NoGpuFits")
    assert f"does not lend its GPU to namespace {world.namespace}" in condition["message"]
    assert "gpurelay.dev/allowed-namespaces" in condition["message"]
    assert resident.loaded
    elsewhere.annotate_pod("sam3", {"gpurelay.dev/allowed-namespaces": f"somebody, {world.namespace}"})
    world.shows_pod("digits-1")
    assert not resident.loaded
    resident.close()


def test_a_resident_of_a_namespace_that_is_not_trusted_is_none(
    world: World, elsewhere: World, start_operator: Start
) -> None:
    """Otherwise a user who may create pods could label one as a resident, and receive the operator's token."""
    start_operator(resident_namespaces=f"gpu-relay,{world.namespace}", resident_grace="1")
    impostor = ScriptedResident()
    elsewhere.add_resident(impostor, annotations={"gpurelay.dev/allowed-namespaces": "*"})
    world.apply_job("digits")
    world.shows_pod("digits-1")
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")
    assert world.condition("digits", "ResidentReloaded")["reason"] == "NoResident"
    assert impostor.calls == []
    impostor.close()


def _refused(answer: httpx.Response) -> httpx.Response | None:
    return answer if answer.status_code == 403 else None
