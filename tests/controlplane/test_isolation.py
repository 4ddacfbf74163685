"""What is wrong with one object delays that one alone; what cannot be read is neither gone nor free (laws 8, 10)."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.manifests import job_manifest
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

Start = Callable[..., OperatorProcess]
_CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/yolotrainingjobs.gpurelay.dev"
_SPEC = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties"
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_UNKNOWN = "FromTheFuture"
_MOST_BACKOFFS = 1000
"""The largest `backoffLimit` that the operator knows."""


@pytest.fixture
def newer_crd(world: World, api: httpx.Client) -> Iterator[None]:
    """A CRD in the cluster that admits more than this operator knows, as a newer version's would."""
    bound = f"{_SPEC}/backoffLimit/maximum"
    _patch_crd(api, {"op": "replace", "path": bound, "value": 10 * _MOST_BACKOFFS})
    yield
    world.empty()
    _patch_crd(api, {"op": "replace", "path": bound, "value": _MOST_BACKOFFS})


def _patch_crd(api: httpx.Client, change: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/json-patch+json"}
    api.patch(_CRD, content=json.dumps([change]), headers=headers).raise_for_status()


def patch_status(world: World, name: str, **status: Any) -> None:
    """Write into a job's status, as another version of the operator may have done."""
    path = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs/{name}/status"
    headers = {"Content-Type": "application/merge-patch+json"}
    answer = world.api.patch(path, content=json.dumps({"status": status}), headers=headers)
    assert answer.is_success, answer.text


def make_unreadable(world: World, name: str) -> None:
    """Give a job a value that the CRD in the cluster admits and the operator does not know."""

    def accepted() -> bool:
        path = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs/{name}"
        headers = {"Content-Type": "application/merge-patch+json"}
        body = json.dumps({"spec": {"backoffLimit": 2 * _MOST_BACKOFFS}})
        return world.api.patch(path, content=body, headers=headers).is_success

    eventually(accepted, "the newer CRD to be in force")


def uid_of(world: World, pod: str) -> str:
    """Return a pod's UID; empty where there is none of that name."""
    return next((each["metadata"]["uid"] for each in world.training_pods() if each["metadata"]["name"] == pod), "")


def is_unreadable(world: World, name: str) -> dict[str, Any]:
    """Wait for a job's condition Unreadable, and return it."""
    return eventually(lambda: world.condition(name, "Unreadable"), "the condition Unreadable")


def test_an_unreadable_job_keeps_its_pod_and_names_the_field(
    world: World, resident: ScriptedResident, newer_crd: None, start_operator: Start
) -> None:
    operator = start_operator(hold_ttl="5", progress_interval="0.2")
    world.apply_job("digits")
    world.shows_pod("digits-1")
    world.run_pod("digits-1")
    eventually(lambda: world.waits_for("digits", "TrainingRunning"), "the training to be seen")
    make_unreadable(world, "digits")
    condition = is_unreadable(world, "digits")
    assert condition["status"] == "True"
    assert condition["reason"] == "Unreadable"
    assert condition["message"].startswith("spec.backoffLimit is 2000: Input should be less than or equal to 1000")
    event = eventually(lambda: world.event("digits", "Unreadable"), "the Event Unreadable")
    assert event["type"] == "Warning"
    renewals = len(resident.called("unload"))
    eventually(lambda: len(resident.called("unload")) > renewals + 2, "the hold to be renewed")
    assert world.exists("digits-1")
    assert not resident.loaded
    operator.stop()
    start_operator(hold_ttl="5", progress_interval="0.2")  # another process knows no more
    renewals = len(resident.called("unload"))
    eventually(lambda: len(resident.called("unload")) > renewals + 2, "the hold to be renewed by the next operator")
    assert world.exists("digits-1")
    world.patch_job("digits", backoffLimit=3)
    eventually(lambda: not world.condition("digits", "Unreadable"), "the condition to go")
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")
    assert world.pod_names() == ["digits-1"]


def test_an_unreadable_job_without_a_pod_blocks_no_gpu(
    world: World, resident: ScriptedResident, newer_crd: None, start_operator: Start
) -> None:
    start_operator(hold_ttl="5")
    resident.faults.leak_mib = 5000
    world.apply_job("digits")
    eventually(lambda: world.waits_for("digits", "WaitingForMemory"), "a turn that cannot get its memory")
    make_unreadable(world, "digits")
    is_unreadable(world, "digits")
    world.apply_job("small", memory="2Gi")
    world.shows_pod("small-1")
    resident.faults.leak_mib = 0
    world.end_pod("small-1")
    world.reaches("small", "Succeeded")
    eventually(world.no_reload_pending, "the resident to be back")
    assert resident.loaded
    assert "digits-1" not in world.pod_names()
    world.patch_job("digits", backoffLimit=3)
    world.shows_pod("digits-1")
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")
    assert not world.condition("digits", "Unreadable")


def test_an_attempt_after_an_unreadable_job_has_a_new_pod_name(
    world: World, resident: ScriptedResident, newer_crd: None, start_operator: Start
) -> None:
    start_operator(hold_ttl="5")
    world.apply_job("digits")
    world.shows_pod("digits-1")
    world.run_pod("digits-1")
    first = uid_of(world, "digits-1")
    make_unreadable(world, "digits")
    is_unreadable(world, "digits")
    world.end_pod("digits-1")
    eventually(world.no_reload_pending, "the resident to be back")
    assert resident.loaded
    world.patch_job("digits", backoffLimit=3)
    eventually(lambda: uid_of(world, "digits-1") not in {"", first}, "a new pod")
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")


def test_an_unreadable_job_starts_once_it_is_readable(
    world: World, resident: ScriptedResident, newer_crd: None, operator: OperatorProcess
) -> None:
    world.apply_job("digits", suspend=True)
    make_unreadable(world, "digits")
    world.patch_job("digits", suspend=False)
    is_unreadable(world, "digits")
    world.apply_job("other")
    world.shows_pod("other-1")
    world.end_pod("other-1")
    world.reaches("other", "Succeeded")
    assert world.pod_names() == ["other-1"]
    world.patch_job("digits", backoffLimit=0)
    world.shows_pod("digits-1")


def test_a_status_that_cannot_be_read_loses_nothing(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("digits")
    world.shows_pod("digits-1")
    world.end_pod("digits-1", "Error", 1)
    world.shows_pod("digits-2")
    world.run_pod("digits-2")
    eventually(lambda: world.waits_for("digits", "TrainingRunning"), "the training to be seen")
    began = world.job("digits")["status"]["startTime"]
    patch_status(world, "digits", startTime="0000-01-01T00:00:00Z")
    assert is_unreadable(world, "digits")["message"].startswith("status.startTime is '0000-01-01T00:00:00Z': ")
    now = world.job("digits")["status"]
    assert [attempt["number"] for attempt in now["attempts"]] == [1]
    assert {each["type"] for each in now["conditions"]} >= {"Reconciling", "GPUAcquired", "Unreadable"}
    assert now["phase"] == "Training"
    assert world.exists("digits-2")
    patch_status(world, "digits", startTime=began)
    eventually(lambda: not world.condition("digits", "Unreadable"), "the condition to go")
    world.end_pod("digits-2")
    world.reaches("digits", "Succeeded")
    assert [attempt["reason"] for attempt in world.attempts("digits")] == ["Error", "Completed"]


def test_a_job_that_exceeds_bounds_newer_than_itself_still_runs(
    world: World, api: httpx.Client, resident: ScriptedResident, start_operator: Start
) -> None:
    bound = f"{_SPEC}/training/properties/args/maxProperties"
    args = {f"argument_{number}": number for number in range(100)}
    _patch_crd(api, {"op": "replace", "path": bound, "value": 128})
    try:
        path = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs"
        job = job_manifest("digits", training={"args": args})
        eventually(lambda: api.post(path, json=job).is_success, "the older CRD to be in force")
    finally:
        _patch_crd(api, {"op": "replace", "path": bound, "value": 64})
    other = job_manifest("other", training={"args": args})
    eventually(lambda: not api.post(path, json=other, params={"dryRun": "All"}).is_success, "the newer CRD")
    start_operator()
    world.shows_pod("digits-1")
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")


def test_reasons_of_another_version_stop_no_job(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    world.apply_job("digits", priority=1)
    now = "2026-01-01T00:00:00Z"
    condition = {"status": "True", "reason": _UNKNOWN, "message": "said by another version", "lastTransitionTime": now}
    attempt = {"number": 1, "pod": "digits-1", "fence": 1, "reason": _UNKNOWN, "completionTime": now}
    patch_status(
        world, "digits", phase=_UNKNOWN, attempts=[attempt], turn={"fence": 1, "since": now, "stopping": _UNKNOWN},
        conditions=[{"type": kind, **condition} for kind in ("ResidentReloaded", "Reconciling", _UNKNOWN)],
    )  # fmt: skip
    world.apply_job("other")
    start_operator()
    world.shows_pod("digits-2")
    world.end_pod("digits-2")
    world.reaches("digits", "Succeeded")
    assert [each["reason"] for each in world.attempts("digits")] == [_UNKNOWN, "Completed"]
    world.shows_pod("other-1")
    world.end_pod("other-1")
    world.reaches("other", "Succeeded")


def test_an_unknown_cause_to_stop_is_echoed_and_counts_as_a_failure(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("digits", backoffLimit=0)
    world.shows_pod("digits-1")
    world.run_pod("digits-1")
    eventually(lambda: world.waits_for("digits", "TrainingRunning"), "the training to be seen")
    operator.stop()
    turn = world.job("digits")["status"]["turn"]
    patch_status(world, "digits", turn={**turn, "stopping": _UNKNOWN})
    world.end_pod("digits-1", "Interrupted", 143)
    operator.start()
    world.reaches("digits", "Failed")
    assert [each["reason"] for each in world.attempts("digits")] == [_UNKNOWN]
    assert world.condition("digits", "Failed")["reason"] == "BackoffLimitExceeded"


@contextmanager
def refused(world: World, api: httpx.Client, name: str, operation: str, resource: str) -> Iterator[None]:
    """Have an admission policy refuse what concerns one job."""
    policy = f"refuse-{world.namespace}"[:63].strip("-")
    rule = {
        "apiGroups": ["gpurelay.dev"], "apiVersions": ["*"], "operations": [operation], "resources": [resource],
    }  # fmt: skip
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": f"request.name != '{name}'", "message": "refused by a test"}],
    }
    binding = {"policyName": policy, "validationActions": ["Deny"]}
    for kind, body in (("policies", spec), ("policybindings", binding)):
        path = f"{_ADMISSION}/validatingadmission{kind}"
        api.post(path, json={"metadata": {"name": policy}, "spec": body}).raise_for_status()
    try:
        yield
    finally:
        for kind in ("policybindings", "policies"):
            api.delete(f"{_ADMISSION}/validatingadmission{kind}/{policy}")


def test_a_job_whose_deletion_is_refused_does_not_keep_others(
    world: World, api: httpx.Client, resident: ScriptedResident, start_operator: Start
) -> None:
    path = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs"
    with refused(world, api, "first", "DELETE", "yolotrainingjobs"):
        for name in ("first", "second"):
            world.apply_job(name, ttlSecondsAfterFinished=0)
            patch_status(world, name, phase="Failed", completionTime="2026-01-01T00:00:00Z")
        body = {"dryRun": ["All"]}
        eventually(lambda: api.request("DELETE", f"{path}/first", json=body).status_code == 422, "the policy")
        operator = start_operator()
        eventually(lambda: not world.has_job("second"), "the second job to be deleted")
        assert world.has_job("first")
        eventually(lambda: "finished: " in operator.log(), "the log to name the job")
        assert f"{world.namespace}/first failed; only this object is retried" in operator.log()
        metrics = operator.probe("/metrics").text
        assert 'gpu_relay_pass_errors_total{key="finished"}' in metrics
    eventually(lambda: not world.has_job("first"), "the first job to be deleted once it may be")
