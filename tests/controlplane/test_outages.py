"""A resident is unloaded only for turns that can succeed, and never for longer than one documented bound (law 9)."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.manifests import container, restricted_pod
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

Start = Callable[..., OperatorProcess]
QUOTA = "/api/v1/namespaces/{}/resourcequotas"


def unloads(resident: ScriptedResident) -> int:
    """Count the turns that asked for an unload; a renewal of a hold has the fence of its turn."""
    return len({body["fence"] for body in resident.called("unload")})


def reasons(world: World, job: str) -> list[str]:
    return [attempt["reason"] for attempt in world.attempts(job)]


def test_memory_that_another_process_holds_is_seen_before_the_unload(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    """A notebook has 6,000 MiB: an unload would free 8,000 of 15,360 MiB, and the job needs 10,240."""
    resident.model_mib = resident.cap_mib = 8000
    resident.trainer_mib = 6000
    world.apply_job("digits", backoffLimit=0)
    condition = eventually(lambda: world.waits_for("digits", "WaitingForMemory"), "the condition WaitingForMemory")
    assert "Other processes hold about 6,000 MiB" in condition["message"]
    world.apply_job("small", memory="6Gi")
    world.shows_pod("small-1")  # law 8: no other job waits for that memory
    world.end_pod("small-1")
    world.reaches("small", "Succeeded")
    assert unloads(resident) == 1
    resident.trainer_mib = 0
    world.shows_pod("digits-1")


def test_missing_memory_releases_the_gpu_in_time(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(max_idle_outage="5", backoff_base="600", backoff_cap="600", hold_ttl="5")
    resident.faults.leak_mib = 5000
    resident.cap_mib = 9000  # it loads although not all of its memory came back
    world.apply_job("digits", backoffLimit=0)
    eventually(lambda: world.waits_for("digits", "WaitingForMemory"), "the condition WaitingForMemory")
    eventually(lambda: reasons(world, "digits") == ["WaitingForMemory"], "the turn to be given up")
    world.reaches("digits", "Queued")
    assert resident.loaded
    eventually(world.no_reload_pending, "the Lease to be settled")
    condition = eventually(lambda: world.waits_for("digits", "WaitingForBackoff"), "the condition WaitingForBackoff")
    assert "the next attempt starts at" in condition["message"]
    warned = world.event("digits", "WaitingForMemory")
    assert warned is not None
    assert "nvidia-smi on node node-1" in warned["note"]
    assert world.pod_names() == []


def test_a_hold_is_renewed_while_the_memory_is_waited_for(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(hold_ttl="5")
    resident.faults.leak_mib = 5000
    world.apply_job("digits")
    eventually(lambda: len(resident.called("unload")) >= 4, "the hold to be renewed three times")
    assert unloads(resident) == 1
    resident.faults.leak_mib = 0
    world.shows_pod("digits-1")


def test_turns_that_come_to_nothing_share_one_bound(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    """Jobs that follow one another do not prolong the outage: only a live training pod does."""
    start_operator(max_idle_outage="6", backoff_base="600", backoff_cap="600")
    resident.faults.leak_mib = 5000
    resident.cap_mib = 9000
    turns_at_load: list[int] = []
    resident.before_load = lambda: turns_at_load.append(unloads(resident))
    for name in ("one", "two", "three"):
        world.apply_job(name, backoffLimit=0)
    eventually(lambda: turns_at_load, "the resident to be loaded")
    assert turns_at_load[0] == 1


@pytest.mark.parametrize(
    ("quota", "spec", "message"),
    [
        ({"count/pods": "0"}, {}, "exceeded quota: tight"),
        ({"requests.cpu": "1"}, {"podTemplate": {"resources": {"requests": {"cpu": "4"}}}}, "exceeded quota: tight"),
    ],
    ids=["pods", "cpu"],
)
def test_a_quota_costs_no_outage(
    world: World,
    resident: ScriptedResident,
    operator: OperatorProcess,
    api: httpx.Client,
    quota: dict[str, str],
    spec: dict[str, Any],
    message: str,
) -> None:
    path = QUOTA.format(world.namespace)
    api.post(path, json={"metadata": {"name": "tight"}, "spec": {"hard": quota}}).raise_for_status()
    eventually(lambda: api.get(f"{path}/tight").json().get("status", {}).get("hard"), "the quota to be in force")
    world.apply_job("digits", backoffLimit=0, **spec)
    condition = eventually(lambda: world.waits_for("digits", "PodRefused"), "the condition PodRefused")
    assert message in condition["message"]
    assert eventually(lambda: world.event("digits", "PodRefused"), "the Event PodRefused")["type"] == "Warning"
    assert not resident.called("unload")
    assert world.leases() == {}
    api.delete(f"{path}/tight")
    world.shows_pod("digits-1")
    assert world.attempts("digits") == []


def test_a_job_that_is_refused_delays_no_other(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("first", priority=5, podTemplate={"serviceAccountName": "missing"})
    condition = eventually(lambda: world.waits_for("first", "PodRefused"), "the condition PodRefused")
    assert 'serviceaccount "missing" not found' in condition["message"]
    world.apply_job("second")
    world.shows_pod("second-1")
    assert world.attempts("first") == []


def test_pod_security_costs_no_outage(
    world: World, resident: ScriptedResident, start_operator: Start, api: httpx.Client, tmp_path: Any
) -> None:
    template = tmp_path / "template.yaml"
    template.write_text("spec: {hostNetwork: true}")
    start_operator(trainer_pod_template=str(template))
    world.apply_job("digits")
    condition = eventually(lambda: world.waits_for("digits", "PodRefused"), "the condition PodRefused")
    assert "violates PodSecurity" in condition["message"]
    assert not resident.called("unload")


def test_a_limit_range_costs_no_outage(
    world: World, resident: ScriptedResident, operator: OperatorProcess, api: httpx.Client
) -> None:
    limits = {"type": "Container", "max": {"memory": "1Gi"}}
    path = f"/api/v1/namespaces/{world.namespace}/limitranges"
    api.post(path, json={"metadata": {"name": "small"}, "spec": {"limits": [limits]}}).raise_for_status()
    world.apply_job("digits", podTemplate={"resources": {"limits": {"memory": "8Gi"}}})
    condition = eventually(lambda: world.waits_for("digits", "PodRefused"), "the condition PodRefused")
    assert "maximum memory usage per Container is 1Gi" in condition["message"]
    assert not resident.called("unload")
    world.patch_job("digits", podTemplate={"resources": {"limits": {"memory": "1Gi"}}})
    world.shows_pod("digits-1")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            {"resources": {"requests": {"memory": "8Gi"}, "limits": {"memory": "4Gi"}}},
            "must be less than or equal to memory limit",
        ),
        ({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.nope"}}}]}, "fieldPath"),
        ({"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}, "tolerations"),
    ],
    ids=["requests above limits", "a field that pods do not have", "toleration"],
)
def test_an_invalid_pod_fails_its_job_without_an_outage(
    world: World,
    resident: ScriptedResident,
    operator: OperatorProcess,
    template: dict[str, Any],
    message: str,
) -> None:
    world.apply_job("digits", backoffLimit=3, podTemplate=template)
    world.reaches("digits", "Failed")
    failed = world.condition("digits", "Failed")
    assert failed["reason"] == "PodRefused"
    assert message in failed["message"]
    assert "correct spec.podTemplate in a new job" in failed["message"]
    assert not resident.called("unload")


def test_a_template_of_the_site_that_is_invalid_fails_no_job(
    world: World, resident: ScriptedResident, start_operator: Start, tmp_path: Any
) -> None:
    template = tmp_path / "template.yaml"
    template.write_text("spec: {tolerations: [{operator: Exists, value: x}]}")
    start_operator(trainer_pod_template=str(template))
    world.apply_job("digits", podTemplate={"resources": {"requests": {"cpu": "1"}}})
    condition = eventually(lambda: world.waits_for("digits", "PodRefused"), "the condition PodRefused")
    assert "correct the operator's trainer-pod-template" in condition["message"]
    assert not resident.called("unload")


def test_a_webhook_that_is_down_costs_no_outage(
    world: World, resident: ScriptedResident, operator: OperatorProcess, api: httpx.Client
) -> None:
    hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    body = {
        "metadata": {"name": "down"},
        "webhooks": [
            {
                "name": "down.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "failurePolicy": "Fail", "clientConfig": {"url": "https://127.0.0.1:1/"}, "timeoutSeconds": 1,
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}},
            }
        ],
    }  # fmt: skip
    api.post(hooks, json=body).raise_for_status()
    try:
        eventually(lambda: not creates_pods(api, world.namespace), "the webhook to be in force")
        world.apply_job("digits")
        condition = eventually(lambda: world.waits_for("digits", "PodRefused"), "the condition PodRefused")
        assert "down.example.com" in condition["message"]
        assert not resident.called("unload")
    finally:
        api.delete(f"{hooks}/down")
    world.shows_pod("digits-1")


def creates_pods(api: httpx.Client, namespace: str) -> bool:
    pod = {"metadata": {"name": "probe"}, "spec": restricted_pod("main", "x")}
    return api.post(f"/api/v1/namespaces/{namespace}/pods", params={"dryRun": "All"}, json=pod).is_success


@pytest.mark.parametrize("reason", ["WrongGpu", "GpuMemoryUnavailable"])
def test_endings_that_cost_nothing_do_not_repeat_without_end(
    world: World, resident: ScriptedResident, start_operator: Start, reason: str
) -> None:
    start_operator(backoff_base="0.1", backoff_cap="0.2")
    code = {"WrongGpu": 11, "GpuMemoryUnavailable": 10}[reason]
    world.apply_job("digits", backoffLimit=0)
    for number in range(1, 7):
        world.shows_pod(f"digits-{number}")
        world.set_pod(f"digits-{number}", phase="Failed", containerStatuses=[ended(reason, code)])
    world.reaches("digits", "Failed")
    failed = world.condition("digits", "Failed")
    assert failed["reason"] == "BackoffLimitExceeded"
    assert f"6 attempts in a row ended before training began; the last one: {reason}" in failed["message"]
    assert "Then create the job again" in failed["message"]
    eventually(lambda: resident.loaded, "the resident to be back")


def ended(reason: str, code: int) -> dict[str, Any]:
    message = json.dumps({"reason": reason, "message": "said so"})
    return container({"terminated": {"exitCode": code, "reason": "Error", "message": message}})
