"""What the plugin reads of Kueue, with the rights that a user has, and names on the command line."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubectl_relay.completion import suggestions
from kubectl_relay.exits import Exit, RelayError
from tests.unit.kubectl_relay.relay_api import Api, api_in_use, invoke, raw
from tests.unit.kubectl_relay.relay_workloads import OTHERS_ARE_AHEAD, raw_workload
from tests.unit.kubectl_relay.relay_world import queued

JOBS = "/apis/gpurelay.dev/v1alpha1/yolotrainingjobs"
HERE = "/apis/gpurelay.dev/v1alpha1/namespaces/vision/yolotrainingjobs"
KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
CHECKS, WORKLOADS = f"{KUEUE}/admissionchecks", f"{KUEUE}/workloads"
WORKLOADS_HERE = f"{KUEUE}/namespaces/vision/workloads"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/gpu-relay/leases"
OURS = {"metadata": {"name": "gpu-relay"}, "spec": {"controllerName": "gpurelay.dev/turn"}}


def listing(*items: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": "1"}, "items": list(items)}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """An API server with one waiting job, without Kueue."""
    monkeypatch.setenv("COLUMNS", "240")
    with api_in_use(tmp_path, monkeypatch) as api:
        for path in (JOBS, HERE):
            api.answer(path, listing(raw(queued("digits", 1))))
        for path in ("/api/v1/pods", "/api/v1/events", LEASES):
            api.answer(path, listing())
        for name in ("digit", "mine", "my-training", "job-my-training-1a2b3"):
            api.refuse(f"{HERE}/{name}", 404, "not found", name=name)
        yield api


def forbid(api: Api, *paths: str) -> None:
    for path in paths:
        api.refuse(path, 403, 'User "u" cannot list this')


def with_kueue(api: Api, *workloads: dict[str, Any]) -> None:
    api.answer(KUEUE, {"resources": []})
    api.answer(CHECKS, listing(OURS))
    for path in (WORKLOADS, WORKLOADS_HERE):
        api.answer(path, listing(*workloads))


def lines(*arguments: str) -> list[str]:
    result = invoke(*arguments)
    assert result.exception is None, result.exception
    return result.output.splitlines()


def test_without_kueue_nothing_is_said_of_it(api: Api) -> None:
    before = lines("jobs")
    assert len(before) == 2
    forbid(api, CHECKS, WORKLOADS, WORKLOADS_HERE)
    assert lines("jobs") == before, "the API server refuses a kind that it does not know, too"
    assert not [each for each in api.asked if "workloads" in each]


def test_without_a_check_of_the_operator_no_workload_is_read(api: Api) -> None:
    api.answer(CHECKS, listing({"metadata": {"name": "other"}, "spec": {"controllerName": "other"}}))
    assert len(lines("jobs")) == 2
    assert not [each for each in api.asked if "workloads" in each]


def test_workloads_are_listed_among_the_jobs(api: Api) -> None:
    with_kueue(api, raw_workload())
    assert any(line.startswith("Job vision/my-training  Queued  ") for line in lines("jobs"))
    assert lines("gpus")[0] == "No GPU is known yet: no job has had a turn, and no resident has reported its GPU."


def test_a_right_that_is_missing_is_one_sentence(api: Api) -> None:
    api.answer(KUEUE, {"resources": []})
    forbid(api, CHECKS, WORKLOADS, WORKLOADS_HERE)
    *_, last = lines("jobs")
    assert last == (
        "not known  Your rights do not show: Workloads of Kueue (list workloads.kueue.x-k8s.io in namespace vision)."
    )


def test_a_user_of_one_namespace_sees_its_workloads(api: Api) -> None:
    with_kueue(api, raw_workload())
    del api.answers[CHECKS], api.answers[WORKLOADS]
    forbid(api, CHECKS, WORKLOADS)
    shown = lines("jobs")
    assert any(line.startswith("Job vision/my-training  Queued  ") for line in shown)
    assert "Workloads of other namespaces (list workloads.kueue.x-k8s.io in all namespaces)" in shown[-1]


def explained(api: Api, name: str) -> str:
    return lines("explain", name)[0]


@pytest.mark.parametrize(
    "name", ["my-training", "job/my-training", "job-my-training-1a2b3", "workload/job-my-training-1a2b3"]
)
def test_explain_takes_the_name_of_the_job_or_the_workload(api: Api, name: str) -> None:
    with_kueue(api, raw_workload())
    assert explained(api, name) == "Job vision/my-training waits for a GPU: number 2 in the queue."
    assert invoke("timeline", name).exception is None


def test_a_name_that_several_have_takes_its_kind(api: Api) -> None:
    api.answer(f"{HERE}/digits", raw(queued("digits", 1)))
    with_kueue(api, raw_workload("digits"))
    for command in ("explain", "timeline"):
        error = invoke(command, "digits").exception
        assert str(error) == (
            "namespace vision has several objects named digits: write yolotrainingjob/digits or job/digits"
        )
    assert explained(api, "job/digits").startswith("Job vision/digits waits for a GPU")
    assert explained(api, "yolotrainingjob/digits").startswith("vision/digits waits for a GPU")


def test_one_name_of_two_kinds_is_ambiguous(api: Api) -> None:
    with_kueue(api, raw_workload("mine"), raw_workload("mine", owner="RayJob"))
    assert "write job/mine or rayjob/mine" in str(invoke("explain", "mine").exception)


def test_of_two_workloads_of_one_job_the_newer_counts(api: Api) -> None:
    with_kueue(api, raw_workload(minutes=1), raw_workload(minutes=90, message="old"))
    assert any(OTHERS_ARE_AHEAD[1:] in line for line in lines("explain", "my-training"))


def test_a_name_that_nothing_has_is_not_found(api: Api) -> None:
    with_kueue(api, raw_workload())
    error = invoke("explain", "digit").exception
    assert isinstance(error, RelayError)
    assert (error.code, str(error)) == (
        Exit.NOT_FOUND, "there is no job digit in namespace vision; did you mean digits?",
    )  # fmt: skip


@pytest.mark.parametrize("command", ["logs", "watch", "suspend", "resume", "cancel"])
@pytest.mark.parametrize("name", ["my-training", "job/my-training"])
def test_a_command_for_jobs_of_the_relay_says_what_to_use_for_others(api: Api, command: str, name: str) -> None:
    with_kueue(api, raw_workload())
    error = invoke(command, name).exception
    assert isinstance(error, RelayError)
    assert (error.code, str(error)) == (
        Exit.NOT_FOUND,
        "Job vision/my-training is no YoloTrainingJob, and takes turns through Kueue: use kubectl itself, for example "
        "`kubectl -n vision logs -f job/my-training`; `kubectl relay explain job/my-training` says what it waits for",
    )


def test_what_kubectl_has_no_log_of_is_described(api: Api) -> None:
    with_kueue(api, raw_workload(owner="RayJob"))
    assert "`kubectl -n vision describe rayjob/my-training`" in str(invoke("logs", "my-training").exception)


def test_names_of_both_kinds_are_completed(api: Api) -> None:
    with_kueue(api, raw_workload())
    where = ("-n", "vision", "--kubeconfig", os.environ["KUBECONFIG"])
    assert suggestions(["explain", *where, ""]) == ["digits\tQueued", "job/my-training\tJob", ":4"]
    assert suggestions(["timeline", *where, "job/"]) == ["job/my-training\tJob", ":4"]
    assert suggestions(["watch", *where, ""]) == ["digits\tQueued", ":4"]
