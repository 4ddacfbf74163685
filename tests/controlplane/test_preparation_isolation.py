"""Nothing of one job delays another job's preparation for long, and nothing of one namespace another namespace's."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.manifests import Object, container, restricted_pod
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

Start = Callable[..., OperatorProcess]
IMAGE_MISSING = {"waiting": {"reason": "ErrImagePull", "message": "no such host"}}
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
pytestmark = pytest.mark.usefixtures("room")


@pytest.fixture
def lending(world: World) -> Iterator[ScriptedResident]:
    """A resident on node-1 that lends its GPU to every namespace."""
    resident = ScriptedResident()
    world.add_resident(resident, annotations={"gpurelay.dev/allowed-namespaces": "*"})
    yield resident
    resident.close()


def preparation(world: World, name: str) -> Object:
    found: Object = world.job(name)["status"].get("preparation", {})
    return found


def waits(world: World, name: str, reason: str) -> str:
    return str(eventually(lambda: world.waits_for(name, reason), f"{name} to wait for {reason}")["message"])


def is_prepared(world: World, name: str) -> bool:
    return bool(preparation(world, name).get("reason") == "Completed")


def fail_to_start(world: World, pod: str) -> None:
    """Report, as a kubelet, that the image of a preparing pod cannot be pulled."""
    eventually(lambda: world.node_of(pod), f"{pod} to have a node")
    world.set_pod(pod, phase="Pending", containerStatuses=[container(IMAGE_MISSING)])


def test_no_namespace_waits_for_the_preparations_of_another(
    world: World, neighbour: World, lending: ScriptedResident, start_operator: Start
) -> None:
    world.apply_job("long")
    start_operator(preparations="1")
    world.shows_pod("long-1-prepare")
    world.run_pod("long-1-prepare")
    world.apply_job("second")
    assert f"being prepared in namespace {world.namespace}" in waits(world, "second", "WaitingToPrepare")
    neighbour.apply_job("theirs")
    neighbour.shows_pod("theirs-1-prepare")
    assert world.pod_names() == ["long-1-prepare"]


def test_a_pod_that_does_not_start_holds_no_slot(
    world: World, lending: ScriptedResident, start_operator: Start
) -> None:
    first = start_operator(preparations="1", start_failure_timeout="600")
    world.apply_job("stuck", backoffLimit=0)
    fail_to_start(world, "stuck-1-prepare")
    assert "podTemplate.image" in waits(world, "stuck", "ImagePullFailed")
    since = preparation(world, "stuck")["failingSince"]
    world.apply_job("well")
    world.shows_pod("well-1-prepare")
    first.kill()
    assert preparation(world, "stuck")["failingSince"] == since
    start_operator(preparations="1", start_failure_timeout="1")
    world.reaches("stuck", "Failed")
    assert "failingSince" not in preparation(world, "stuck")
    eventually(lambda: not world.exists("stuck-1-prepare"), "the pod to be deleted")
    assert world.exists("well-1-prepare")


def test_a_pod_that_starts_after_all_is_no_longer_failing(
    world: World, lending: ScriptedResident, start_operator: Start
) -> None:
    start_operator(preparations="1")
    world.apply_job("digits")
    fail_to_start(world, "digits-1-prepare")
    waits(world, "digits", "ImagePullFailed")
    world.run_pod("digits-1-prepare")
    waits(world, "digits", "Preparing")
    assert "failingSince" not in preparation(world, "digits")


def test_a_pause_after_a_failure_holds_no_slot(world: World, lending: ScriptedResident, start_operator: Start) -> None:
    start_operator(preparations="1", backoff_base="300")
    world.apply_job("unlucky", priority=9)
    world.shows_pod("unlucky-1-prepare")
    world.end_pod("unlucky-1-prepare", "Error", 1, message="no route")
    waits(world, "unlucky", "PreparationFailed")
    world.apply_job("next")
    world.shows_pod("next-1-prepare")


@pytest.fixture
def broken_webhook(api: httpx.Client, world: World) -> Iterator[str]:
    """A webhook that must be asked about the pods of one job, and cannot be."""
    webhook = {
        "name": "pods.example.org", "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://127.0.0.1:9/"}, "timeoutSeconds": 1,
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        "objectSelector": {"matchLabels": {"gpurelay.dev/job": "barred"}},
    }  # fmt: skip
    path = f"{ADMISSION}/validatingwebhookconfigurations"
    name = world.namespace
    api.post(path, json={"metadata": {"name": name}, "webhooks": [webhook]}).raise_for_status()
    pod = {"metadata": {"name": "probe", "labels": {"gpurelay.dev/job": "barred"}}, "spec": restricted_pod("main", "x")}
    pods = f"/api/v1/namespaces/{world.namespace}/pods"
    eventually(lambda: api.post(pods, params={"dryRun": "All"}, json=pod).status_code == 500, "the webhook to count")
    yield f"{path}/{name}"
    api.delete(f"{path}/{name}")


def test_a_pod_that_cannot_be_created_costs_no_attempt(
    api: httpx.Client, world: World, lending: ScriptedResident, broken_webhook: str, start_operator: Start
) -> None:
    start_operator(preparations="1")
    world.apply_job("barred", priority=9, backoffLimit=0)
    assert "pods.example.org" in waits(world, "barred", "PodRefused")
    world.apply_job("next")
    world.shows_pod("next-1-prepare")
    api.delete(broken_webhook).raise_for_status()
    world.shows_pod("barred-1-prepare")
    world.run_pod("barred-1-prepare")
    assert preparation(world, "barred").get("failures", 0) == 0
    waits(world, "barred", "Preparing")


@pytest.fixture
def unwritable(api: httpx.Client, world: World) -> Iterator[None]:
    """An admission policy that refuses every write to the status of the job `cursed`."""
    match = {"apiGroups": ["gpurelay.dev"], "apiVersions": ["v1alpha1"], "operations": ["UPDATE"]}
    rule = {**match, "resources": ["yolotrainingjobs/status"]}
    name, kind = world.namespace, f"{ADMISSION}/validatingadmissionpolicies"
    validation = {"expression": "object.metadata.name != 'cursed'", "message": "its status cannot be written"}
    policy = {"matchConstraints": {"resourceRules": [rule]}, "validations": [validation]}
    api.post(kind, json={"metadata": {"name": name}, "spec": policy}).raise_for_status()
    binding = {"policyName": name, "validationActions": ["Deny"]}
    api.post(f"{kind.removesuffix('ies')}ybindings", json={"metadata": {"name": name}, "spec": binding})
    world.apply_job("cursed", priority=9)
    path = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs/cursed/status"
    headers = {"Content-Type": "application/merge-patch+json"}
    body = '{"status": {"phase": "Queued"}}'
    eventually(
        lambda: api.patch(path, params={"dryRun": "All"}, content=body, headers=headers).is_client_error,
        "the policy to be in force",
    )
    yield
    api.delete(f"{kind.removesuffix('ies')}ybindings/{name}")
    api.delete(f"{kind}/{name}")


@pytest.mark.usefixtures("unwritable")
def test_a_status_that_cannot_be_written_delays_its_own_job_alone(
    world: World, lending: ScriptedResident, start_operator: Start
) -> None:
    operator = start_operator(preparations="1")
    for name in ("next", "other"):
        world.apply_job(name)
        world.shows_pod(f"{name}-1-prepare")
        world.end_pod(f"{name}-1-prepare")
        eventually(partial(is_prepared, world, name), f"{name} to be prepared")
    assert "its status cannot be written" in operator.log()
    assert "cursed" not in " ".join(world.pod_names())


def test_a_pod_that_runs_too_long_is_stopped_and_counts(
    world: World, lending: ScriptedResident, start_operator: Start
) -> None:
    start_operator(preparations="1", preparation_timeout="77")
    world.apply_job("hangs", backoffLimit=0)
    world.shows_pod("hangs-1-prepare")
    assert world.training_pods()[0]["spec"]["activeDeadlineSeconds"] == 77
    ended = {
        "exitCode": 143,
        "reason": "Error",
        "message": '{"reason": "Interrupted", "message": "asked to end"}',
    }
    world.set_pod(
        "hangs-1-prepare", phase="Failed", reason="DeadlineExceeded",
        message="Pod was active on the node longer than the specified deadline",
        containerStatuses=[container({"terminated": ended})],
    )  # fmt: skip
    world.reaches("hangs", "Failed")
    assert preparation(world, "hangs")["reason"] == "PreparationTimedOut"
    assert "GPU_RELAY_PREPARATION_TIMEOUT" in world.condition("hangs", "Failed")["message"]


def test_a_job_that_no_gpu_fits_is_not_prepared_until_one_does(
    world: World, lending: ScriptedResident, start_operator: Start
) -> None:
    start_operator(preparations="1")
    selector: dict[str, Any] = {"memory": "10Gi", "residentSelector": {"matchLabels": {"size": "large"}}}
    world.apply_job("picky", priority=9, gpu=selector)
    world.apply_job("huge", priority=9, memory="40Gi")
    assert "lacks the label size=large" in waits(world, "picky", "NoGpuFits")
    assert "this one needs 40,960 MiB" in waits(world, "huge", "NoGpuFits")
    world.apply_job("next")
    world.shows_pod("next-1-prepare")
    assert world.pod_names() == ["next-1-prepare"]
    world.end_pod("next-1-prepare")
    large = ScriptedResident(uuid="GPU-00000000-0000-0000-0000-000000000002")
    world.add_resident(large, name="large", node="node-2", size="large")
    try:
        world.shows_pod("picky-1-prepare")
    finally:
        large.close()


def test_a_job_that_no_resident_lends_to_is_not_prepared(
    world: World, neighbour: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(preparations="1")
    neighbour.apply_job("theirs")
    assert "does not lend its GPU to namespace" in waits(neighbour, "theirs", "NoGpuFits")
    assert neighbour.pod_names() == []


def test_the_next_operator_repeats_a_lost_deletion(
    world: World, api: httpx.Client, lending: ScriptedResident, start_operator: Start
) -> None:
    """As after a crash between the status that gives a pod up and the deletion."""
    job = world.apply_job("digits", suspend=True)
    start = job["metadata"]["creationTimestamp"]
    record = {"number": 1, "pod": "digits-1-prepare", "reason": "Error", "startTime": start, "completionTime": start}
    path = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs/digits/status"
    headers = {"Content-Type": "application/merge-patch+json"}
    api.patch(path, json={"status": {"phase": "Preparing", "preparation": record}}, headers=headers).raise_for_status()
    labels = {"job": "digits", "job-uid": job["metadata"]["uid"], "preparation": "1"}
    world.create_pod("digits-1-prepare", **{f"gpurelay.dev/{key}": value for key, value in labels.items()})
    start_operator(preparations="1")
    eventually(lambda: not world.exists("digits-1-prepare"), "the forgotten pod to be deleted")
