"""What keeps a GPU from being given: its node, its resident, its memory; and who is not given one for now."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_relay.api.v1alpha1 import Attempt, YoloTrainingJobSpec, YoloTrainingJobStatus
from gpu_relay.api.words import Reason
from gpu_relay.domain.job.attempt_history import fruitless_in_a_row, refused_in_a_row
from gpu_relay.domain.objects.job import Job, JobKey
from gpu_relay.domain.objects.node import NodeState, node_state, placement_error
from gpu_relay.domain.objects.resident import GpuReport, Hold, Resident
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.candidate import (
    CONTEXT_MIB,
    Candidate,
    blocked_reason,
    context_of,
    filter_reason,
    most_free_mib,
    too_full,
)
from gpu_relay.domain.queue.placement import assign, explain_placement, next_for

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
POLICY = Policy(preparations=0)
SPEC = {
    "model": "yolo26n.yaml",
    "dataset": {"persistentVolumeClaim": {"claimName": "data"}},
    "output": {"persistentVolumeClaim": {"claimName": "results"}},
}


def job(name: str = "digits", memory: str = "10Gi", attempts: tuple[Attempt, ...] = (), **spec: Any) -> Job:
    parsed = YoloTrainingJobSpec.model_validate({**SPEC, "gpu": {"memory": memory}, **spec})
    key = JobKey("vision", name, f"uid-{name}")
    status = YoloTrainingJobStatus(attempts=list(attempts))
    return Job(key, 1, "1", "2026-01-01T11:00:00Z", False, parsed, status)


def report(*, used: int = 14_000, own: int = 14_000, loaded: bool = True, hold: Hold | None = None) -> GpuReport:
    state = "loaded" if loaded else "unloaded"
    return GpuReport("GPU-1", "T4", 15_360, 450, used, 14_910 - used, 14_000, loaded, state, hold, own, own)


def candidate(given_report: GpuReport | None, gpu: str = "gpu-1", node: NodeState | None = None) -> Candidate:
    resident = Resident("vision", "sam3", "u", "node-1", "http://sam3", {}, given_report, "no answer within 5 s")
    return Candidate(gpu, resident, {}, node=node)


def attempt(number: int, reason: str, gpu: str = "gpu-1", epoch: int | None = None) -> Attempt:
    end = (NOW - timedelta(hours=1)).isoformat()
    return Attempt(number=number, pod="p", fence=number, gpu=gpu, reason=reason, epoch=epoch, completion_time=end)


@pytest.mark.parametrize(
    ("own", "used", "most"),
    [(14_000, 14_000, 14_910), (8_000, 8_500, 14_910), (8_000, 14_000, 9_934), (0, 14_000, None)],
    ids=["all is its own", "its context", "6,000 MiB are others'", "it does not say"],
)
def test_what_an_unload_can_free_at_most(own: int, used: int, most: int | None) -> None:
    assert most_free_mib(report(used=used, own=own), CONTEXT_MIB) == most


def test_memory_of_others_is_counted_between_turns_only() -> None:
    full = report(used=6_000, own=0, loaded=False)
    found = blocked_reason(job(), candidate(full), NOW, POLICY)
    assert found is not None
    assert found[0] == Reason.WAITING_FOR_MEMORY
    assert "8,910 MiB free; 10,240 MiB and a margin of 256 MiB needed" in found[1]
    assert "Other processes hold about 6,000 MiB" in found[1]
    held = replace(full, hold=Hold("someone", 7, 60.0))
    assert blocked_reason(job(), candidate(held), NOW, POLICY) is None, "what it holds may be the training's"
    assert too_full(job(), candidate(held), POLICY) is not None


def test_what_an_unload_has_shown_narrows_the_bound() -> None:
    """1,910 MiB are free and 8,000 the resident's model: with a context of up to 1,024 the job would have a place."""
    loaded = candidate(report(used=13_000, own=8_000))
    assert blocked_reason(job(), loaded, NOW, POLICY) is None
    found = blocked_reason(job(), replace(loaded, context_mib=300), NOW, POLICY)
    assert found is not None
    assert found[0] == Reason.WAITING_FOR_MEMORY


@pytest.mark.parametrize(("after", "context"), [(9_910, 0), (10_210, 300), (8_000, None), (14_000, None)])
def test_a_context_is_learned_where_nothing_else_has_changed(after: int, context: int | None) -> None:
    assert context_of(1_910, 8_000, after) == context


def test_a_resident_that_does_not_answer_is_an_obstacle() -> None:
    found = blocked_reason(job(), candidate(None), NOW, POLICY)
    assert found is not None
    assert found[0] == Reason.RESIDENT_UNREACHABLE
    assert "no answer within 5 s" in found[1]


TAINT = {"key": "team", "value": "a", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        ({"key": "team", "operator": "Exists"}, True),
        ({"key": "team", "value": "a"}, True),
        ({"key": "team", "operator": "Equal", "value": "a", "effect": "NoSchedule"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "team", "operator": "NewOne", "value": "9"}, True),
        ({"key": "team", "value": "b"}, False),
        ({"key": "team", "value": "a", "effect": "NoExecute"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({}, False),
    ],
)
def test_taints_are_compared_as_the_scheduler_does(toleration: dict[str, str], tolerated: bool) -> None:
    error = placement_error(NodeState("node-1", taints=(TAINT,)), "gpu-1", [toleration])
    assert (error is None) == tolerated


def test_a_node_is_read() -> None:
    pods = [pod("Running", "2"), pod("Succeeded", "1"), pod("Running", "1", {"gpurelay.dev/gpu": "gpu-1"})]
    raw = {
        "metadata": {"name": "node-1", "labels": {"a": "b"}},
        "spec": {"taints": [TAINT, {"key": "x", "effect": "PreferNoSchedule"}]},
        "status": {"allocatable": {"nvidia.com/gpu": "3"}},
    }
    node = node_state(raw, pods, "nvidia.com/gpu")
    assert (node.labels, node.taints, node.shares, node.shares_taken) == ({"a": "b"}, (TAINT,), 3, 3)
    assert placement_error(replace(node, taints=()), "gpu-1", []) is None, "its own training's share comes free"
    full = placement_error(replace(node, taints=()), "gpu-2", [])
    assert full is not None
    assert "its pods use 3 of 3" in full


def pod(phase: str, shares: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    container = {"name": "main", "resources": {"limits": {"nvidia.com/gpu": shares}}}
    return {"metadata": {"labels": labels or {}}, "spec": {"containers": [container]}, "status": {"phase": phase}}


def test_what_is_unknown_of_a_node_is_no_obstacle() -> None:
    assert placement_error(node_state({"metadata": {"name": "n"}}, None, "nvidia.com/gpu"), "gpu-1", []) is None
    assert placement_error(NodeState("n", shares=2), "gpu-1", []) is None


def test_labels_that_cannot_be_read_are_unknown_and_not_missing() -> None:
    selective, unread = job(podTemplate={"nodeSelector": {"gpu": "t4"}}), replace(candidate(report()), node_labels=None)
    assert filter_reason(selective, unread, POLICY) is None
    found = blocked_reason(selective, unread, NOW, POLICY)
    assert found is not None
    assert found[0] == Reason.NODE_UNAVAILABLE
    assert blocked_reason(job(), unread, NOW, POLICY) is None, "others do not wait for it (law 8)"


def test_a_job_that_is_held_back_is_passed_over() -> None:
    first, second = job("first"), job("second")
    held = {"uid-first": (Reason.POD_REFUSED, "exceeded quota")}
    gpus = [candidate(report())]
    assert [each.key.name for each, _ in assign([first, second], gpus, NOW, POLICY, held)] == ["second"]
    told = explain_placement([first, second], gpus, NOW, POLICY, held)
    assert (told[0].reason, told[0].message) == (Reason.POD_REFUSED, "exceeded quota")
    assert next_for([first, second], gpus[0], NOW, POLICY, held) == second


def test_the_gpu_of_a_fruitless_attempt_comes_last() -> None:
    gpus = [candidate(report(), "gpu-1"), candidate(report(), "gpu-2")]
    for reason, chosen in (("ResidentUnreachable", "gpu-2"), ("Completed", "gpu-1")):
        waiting = [job(attempts=(attempt(1, reason),))]
        assert [gpu.gpu for _, gpu in assign(waiting, gpus, NOW, POLICY)] == [chosen]
    assert [gpu.gpu for _, gpu in assign([job(attempts=(attempt(1, "WrongGpu"),))], gpus[:1], NOW, POLICY)] == ["gpu-1"]


@pytest.mark.parametrize(
    ("ends", "fruitless", "refused"),
    [
        ([], 0, 0),
        ([("WrongGpu", None)] * 3, 3, 3),
        ([("WrongGpu", None), ("Error", None), ("WrongGpu", None)], 1, 1),
        ([("Interrupted", 3), ("Interrupted", 3)], 1, 0),
        ([("Interrupted", 3), ("Interrupted", 4)], 0, 0),
        ([("WaitingForMemory", None), ("WrongGpu", None)], 2, 1),
        ([("WrongGpu", None), ("Suspended", None)], 0, 0),
    ],
)
def test_attempts_in_a_row(ends: list[tuple[str, int | None]], fruitless: int, refused: int) -> None:
    attempts = [attempt(number, reason, epoch=epoch) for number, (reason, epoch) in enumerate(ends, start=1)]
    assert (fruitless_in_a_row(attempts), refused_in_a_row(attempts)) == (fruitless, refused)


@given(st.lists(st.sampled_from(["gpu-1", "gpu-2", "gpu-3"]), unique=True), st.sets(st.integers(0, 4)))
def test_each_gpu_is_given_once_and_no_job_that_is_held(free: list[str], held: set[int]) -> None:
    jobs = [job(f"job-{number}") for number in range(5)]
    reasons = {f"uid-job-{number}": (Reason.POD_REFUSED, "m") for number in held}
    given_away = assign(jobs, [candidate(report(), gpu) for gpu in free], NOW, POLICY, reasons)
    assert len({gpu.gpu for _, gpu in given_away}) == len(given_away) == min(len(free), 5 - len(held))
    assert not any(each.key.uid in reasons for each, _ in given_away)
