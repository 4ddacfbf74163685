"""Queue, outcomes, status and the training pod: pure functions."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_relay.api.v1alpha1 import Attempt
from gpu_relay.api.words import ConditionType, Phase, Reason
from gpu_relay.domain.decision import CreatePod
from gpu_relay.domain.job import status
from gpu_relay.domain.job.attempts import next_batch, results_of, verdict
from gpu_relay.domain.objects.pod import Termination, training_pod_of
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.quantities import memory_mib, timestamp
from gpu_relay.domain.queue.candidate import Candidate
from gpu_relay.domain.queue.placement import assign, explain_placement, is_ready, not_before, queue_key, waits_for_time
from gpu_relay.pods.pod_builder import TrainerDefaults, training_pod
from tests.support.builders import NOW, job, lease


def ended(*reasons: str) -> list[Attempt]:
    return [
        Attempt(number=n, pod=f"digits-{n}", fence=n, reason=reason, completion_time="2026-01-01T11:59:00Z")
        for n, reason in enumerate(reasons, start=1)
    ]


@pytest.mark.parametrize(
    ("reasons", "limit", "phase"),
    [
        (["Completed"], 3, Phase.SUCCEEDED),
        (["DatasetInvalid"], 3, Phase.FAILED),
        (["ConfigInvalid"], 3, Phase.FAILED),
        (["Error"], 0, Phase.FAILED),
        (["Error"], 1, Phase.QUEUED),
        (["Error", "OutOfMemory"], 1, Phase.FAILED),
        (["Interrupted"] * 9, 0, Phase.QUEUED),
        (["GpuMemoryUnavailable", "WrongGpu", "PodLost"], 0, Phase.QUEUED),
        ([], 0, Phase.QUEUED),
    ],
)
def test_the_table_of_reasons(reasons: list[str], limit: int, phase: Phase) -> None:
    assert verdict(job(status={"attempts": ended(*reasons)}, backoffLimit=limit), NOW).phase == phase


def test_the_next_batch_is_half_of_the_smallest_that_ran_out_of_memory() -> None:
    """Ultralytics halves the batch itself in its first epoch: what an attempt failed with is what it reports."""

    def after(*batches: int | None, spec: int | str = 16) -> int | str:
        attempts = [
            each.model_copy(update={"batch": batch})
            for each, batch in zip(ended(*["OutOfMemory"] * len(batches)), batches, strict=True)
        ]
        return next_batch(job(status={"attempts": attempts}, training={"batch": spec}))

    assert after(4) == 2
    assert after(4, 2, spec=32) == 1
    assert after(None, 8) == 4
    assert after(64, spec="auto") == 32
    assert after(None, spec="auto") == "auto"


def test_each_out_of_memory_halves_the_batch_down_to_one() -> None:
    assert next_batch(job(status={"attempts": ended("OutOfMemory", "Error", "OutOfMemory")})) == 4
    assert next_batch(job(status={"attempts": ended(*["OutOfMemory"] * 9)})) == 1
    assert next_batch(job(status={"attempts": ended("OutOfMemory")}, training={"batch": "auto"})) == "auto"


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 59)), min_size=1, max_size=20))
def test_the_queue_is_a_total_order(given_jobs: list[tuple[int, int]]) -> None:
    jobs = [
        job(f"j{n}", priority=priority, created=f"2026-01-01T11:{minute:02}:00Z")
        for n, (priority, minute) in enumerate(given_jobs)
    ]
    assert all(is_ready(each, Policy(preparations=0)) for each in jobs)
    ordered = sorted(jobs, key=queue_key)
    assert len({queue_key(each) for each in jobs}) == len(jobs)
    places = explain_placement(ordered, [Candidate("g", None, {})], NOW, Policy())
    assert [p.position for p in places] == list(range(1, len(jobs) + 1))
    assert [p.job for p in places if p.gpu] == ordered[:1]


@given(st.lists(st.booleans(), max_size=6), st.integers(0, 4))
def test_what_is_given_is_what_is_told(pauses: list[bool], gpus: int) -> None:
    """Jobs that pause after a failure are passed over, and the queue is looked at again when they no longer do."""
    failed = [ended("Error")[0].model_copy(update={"completion_time": timestamp(NOW)})]
    waiting = [job(f"j{n}", status={"attempts": failed if each else []}) for n, each in enumerate(pauses)]
    candidates = [Candidate(f"gpu-{n}", None, {}) for n in range(gpus)]
    given_away = assign(waiting, candidates, NOW, Policy())
    assert [each for each, _ in given_away] == [each for each in waiting if not each.status.attempts][:gpus]
    assert len({gpu.gpu for _, gpu in given_away}) == len(given_away)
    told = explain_placement(waiting, candidates, NOW, Policy())
    assert [(each.job, each.gpu) for each in told if each.gpu] == given_away
    assert waits_for_time(waiting, candidates, NOW, Policy()) == any(pauses)


def test_the_pause_doubles_with_each_failure_that_counts() -> None:
    policy = Policy(backoff_base=10, backoff_cap=30)
    end = datetime(2026, 1, 1, 11, 59, tzinfo=UTC)
    for reasons, seconds in (
        (["Error"], 10), (["Error"] * 2, 20), (["Error"] * 5, 30), (["Interrupted"], 10), (["WrongGpu"] * 2, 20),
        (["WaitingForMemory"] * 5, 30), (["WrongGpu", "Suspended", "Interrupted"], 10),
    ):  # fmt: skip
        assert not_before(job(status={"attempts": ended(*reasons)}), policy) == end + timedelta(seconds=seconds)
    assert not_before(job(), policy) is None


def test_a_transition_time_is_kept_while_the_status_stays() -> None:
    first = status.queued(job(), NOW, 2, None, Reason.WAITING_IN_QUEUE, "number 2")
    later = status.queued(
        replace(job(), status=first), NOW + timedelta(hours=1), 1, None, Reason.WAITING_IN_QUEUE, "number 1"
    )
    before, after = (next(c for c in s.conditions if c.type == ConditionType.RECONCILING) for s in (first, later))
    assert after.message == "number 1"
    assert after.last_transition_time == before.last_transition_time


def test_what_a_trainer_says_is_not_trusted() -> None:
    word = {
        "reason": "Completed",
        "metrics": {"mAP50": 0.5, "bad": "x", "inf": float("inf"), "yes": True},
        "weights": {"best": "/output/a/best.pt", "n": 3},
        "exports": ["?"],
        "exportErrors": {"engine": "x" * 9000, "onnx": 3},
        "tracking": {"MLflow": "http://mlflow:5000/#/experiments/1/runs/2", "n": 3},
        "peakMemoryMiB": -4,
    }
    results = results_of(Termination(0, "Completed", word))
    assert results is not None
    assert (results.metrics, results.weights, results.exports) == ({"mAP50": 0.5}, {"best": "a/best.pt"}, {})
    assert results.peak_memory is None
    assert results.export_errors == {"engine": "x" * 1024}
    assert results.tracking == {"MLflow": "http://mlflow:5000/#/experiments/1/runs/2"}


def test_an_attempt_that_fails_after_its_training_leaves_results() -> None:
    weights = {"best": "/output/a/best.pt"}

    left = results_of(Termination(12, "Error", {"reason": "OutOfMemory", "weights": weights}))
    assert left is not None
    assert left.weights == {"best": "a/best.pt"}
    assert results_of(Termination(12, "Error", {"reason": "OutOfMemory", "weights": {}})) is None


@pytest.mark.parametrize("bad", ["", "10", "10G", "0Gi", "-1Gi", "1.5Gi", "10gi"])
def test_memory_is_written_in_mi_or_gi(bad: str) -> None:
    with pytest.raises(ValueError, match="for example 10Gi"):
        memory_mib(bad)
    assert memory_mib("10Gi") == memory_mib("10240Mi") == 10_240


def test_the_training_pod_carries_everything() -> None:
    template = {
        "metadata": {"labels": {"team": "vision"}},
        "spec": {
            "runtimeClassName": "nvidia",
            "containers": [{"name": "trainer", "env": [{"name": "A", "value": "1"}]}],
            "volumes": [{"name": "extra", "emptyDir": {}}],
        },
    }
    defaults = TrainerDefaults("gpu-relay/yolo", "nvidia.com/gpu", 60, template=template)
    body = training_pod(job(podTemplate={"nodeSelector": {"zone": "a"}}), lease(), None, CreatePod(2, 8), defaults)
    spec, container = body["spec"], body["spec"]["containers"][0]
    assert (body["metadata"]["name"], body["metadata"]["labels"]["team"]) == ("digits-2", "vision")
    assert (spec["runtimeClassName"], spec["nodeSelector"], spec["restartPolicy"]) == ("nvidia", {"zone": "a"}, "Never")
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    assert {"name": "A", "value": "1"} in container["env"]
    assert [volume["name"] for volume in spec["volumes"]] == ["extra", "job", "data", "output", "tmp", "shm"]
    contents = json.loads(body["metadata"]["annotations"]["gpurelay.dev/job"])
    assert (contents["training"]["batch"], contents["dataset"]["path"]) == (8, "/data/digits")
    read_back = training_pod_of({**body, "metadata": {**body["metadata"], "uid": "u", "creationTimestamp": "t"}})
    assert (read_back.job_uid, read_back.fence, read_back.live) == ("uid-digits", 7, True)


def test_one_claim_for_data_and_results_is_mounted_once() -> None:
    one = job(output={"persistentVolumeClaim": {"claimName": "data"}, "path": "out"})
    body = training_pod(one, lease(), None, CreatePod(1, 8), TrainerDefaults("i", "", 60))
    assert [v["name"] for v in body["spec"]["volumes"] if "persistentVolumeClaim" in v] == ["data"]
    mounts = {m["mountPath"]: m["name"] for m in body["spec"]["containers"][0]["volumeMounts"]}
    assert mounts["/output"] == mounts["/data"] == "data"


KILLED = {"terminated": {"exitCode": 137}}


@pytest.mark.parametrize(
    ("state", "live"),
    [
        ({"phase": "Running", "containerStatuses": [{"name": "trainer", "state": {"running": {}}}]}, True),
        ({"phase": "Failed", "reason": "Evicted", "message": "disk"}, False),
        ({"phase": "Running", "containerStatuses": [{"name": "trainer", "state": KILLED}]}, False),
        ({"phase": "Running", "containerStatuses": [{"name": "log-shipper", "state": KILLED}]}, True),
        ({}, True),
    ],
)
def test_a_pod_is_live_until_its_end_is_known(state: dict[str, Any], live: bool) -> None:
    meta = {"namespace": "n", "name": "x", "uid": "u", "creationTimestamp": "t", "labels": {}}
    assert training_pod_of({"metadata": meta, "status": state}).live is live


@pytest.mark.parametrize(
    ("status", "outlived"),
    [
        ({"containerStatuses": [["log-shipper", {"running": {}}], ["trainer", KILLED]]}, True),
        ({"containerStatuses": [["log-shipper", {"waiting": {}}], ["trainer", KILLED]]}, True),
        ({"containerStatuses": [["trainer", KILLED]]}, True),
        ({"containerStatuses": [["log-shipper", KILLED], ["trainer", KILLED]]}, True),
        (
            {
                "containerStatuses": [["log-shipper", KILLED], ["trainer", KILLED]],
                "initContainerStatuses": [["fetch", KILLED], ["proxy", KILLED]],
            },
            False,
        ),
        ({"phase": "Failed", "containerStatuses": [["trainer", KILLED]]}, False),
    ],
)
def test_a_pod_outlives_its_trainer_until_every_container_has_ended(status: dict[str, Any], outlived: bool) -> None:
    """One without a status, as where the kubelet has not got to it, may still run."""
    spec = {
        "containers": [{"name": "trainer"}, {"name": "log-shipper"}],
        "initContainers": [{"name": "fetch"}, {"name": "proxy", "restartPolicy": "Always"}],
    }
    kinds = {
        kind: [{"name": name, "state": state} for name, state in containers]
        for kind, containers in status.items()
        if kind != "phase"
    }
    pod = training_pod_of({"metadata": {}, "spec": spec, "status": {"phase": "Running", **status, **kinds}})
    assert pod.termination is not None
    assert (pod.outlived, pod.live) == (outlived, outlived)
