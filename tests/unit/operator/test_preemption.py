"""Which job is preempted for a more urgent one."""

from dataclasses import replace

import pytest

from gpu_relay.api.v1alpha1 import Turn
from gpu_relay.api.words import Phase, Reason
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.node import NodeState
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.candidate import Candidate
from gpu_relay.domain.queue.placement import explain_placement
from gpu_relay.domain.queue.preemption import out_of_use, preemptors
from gpu_relay.domain.turn_view import Preemptor
from tests.support.builders import NOW, ago, attempt, candidate, job, lease, report, training

POLICY = Policy(preparations=0)


def choose(waiting: list[Job], *turns: tuple[Job, Candidate]) -> dict[str, Preemptor]:
    candidates = [candidate for _, candidate in turns]
    owners = {owner.key.holder: owner for owner, _ in turns}
    return preemptors(explain_placement(waiting, candidates, NOW, Policy()), candidates, owners, Policy())


def test_the_lowest_priority_then_the_latest_start_is_preempted() -> None:
    high = job("high", priority=5)
    a = training("a", "gpu-a", 500, preemptible=True, priority=1)
    b = training("b", "gpu-b", 500, preemptible=True)
    c = training("c", "gpu-c", 50, preemptible=True)
    assert list(choose([high], a, b, c)) == ["gpu-c"]
    assert list(choose([high, job("next", priority=4)], a, b, c)) == ["gpu-c", "gpu-b"]
    assert choose([high], training("d", "gpu-d", 9)) == {}, "a job that is not preemptible is not stopped"
    assert choose([job("equal", priority=1)], a) == {}, "a job of equal priority stops none"


def test_no_job_is_preempted_when_a_gpu_becomes_free() -> None:
    victim = training("victim", "gpu-a", 500, preemptible=True)
    ends, candidate = training("ends", "gpu-b", 50)
    ends = replace(ends, status=ends.status.model_copy(update={"phase": Phase.RELEASING}))
    high = job("high", priority=5)
    assert choose([high], victim, (ends, candidate)) == {}
    assert list(choose([high, job("next", priority=4)], victim, (ends, candidate))) == ["gpu-a"]


def test_a_stopping_job_is_the_only_victim() -> None:
    first = training("first", "gpu-a", 500, preemptible=True)
    owner, candidate = training("second", "gpu-b", 600, preemptible=True)
    stopping = Turn(fence=7, since=ago(600), stopping=Reason.PREEMPTED)
    owner = replace(owner, status=owner.status.model_copy(update={"turn": stopping}))
    assert list(choose([job("high", priority=5)], first, (owner, candidate))) == ["gpu-b"]


def test_a_failed_or_idle_waiting_job_preempts_no_job() -> None:
    victim = training("victim", "gpu-a", 500, preemptible=True)
    failed = attempt(1, Reason.GPU_MEMORY_UNAVAILABLE, completion_time=ago(500))
    assert choose([job("failed", priority=5, status={"attempts": [failed]})], victim) == {}
    preempted = failed.model_copy(update={"reason": Reason.PREEMPTED})
    assert list(choose([job("again", priority=5, status={"attempts": [preempted]})], victim)) == ["gpu-a"]
    assert choose([job("polite", priority=5, gpu={"memory": "1Gi", "startWhen": "ResidentIdle"})], victim) == {}


@pytest.mark.parametrize(
    ("idle", "unused"),
    [
        (candidate(None, "gpu-b"), True),
        (candidate(None, "gpu-b", lease=lease(None, "gpu-b", reload_pending="other")), True),
        (candidate(report(loaded=True), "gpu-b", node=NodeState("node-1", cordoned=True)), True),
        (candidate(report(used=9000), "gpu-b"), True),
        (candidate(report(), "gpu-b", lease=lease(None, "gpu-b", reload_pending="other")), False),
    ],
    ids=["silent", "silent before its reload", "cordoned", "full", "about to reload"],
)
def test_a_gpu_that_is_long_out_of_use_keeps_no_job_from_preempting(idle: Candidate, unused: bool) -> None:
    """Law 8."""
    owner, busy = training("victim", "gpu-a", 500, preemptible=True)
    waiting, gpus, owners = [job("high", priority=5)], [busy, idle], {owner.key.holder: owner}
    placements = explain_placement(waiting, gpus, NOW, POLICY)
    found = out_of_use(waiting, gpus, NOW, POLICY)
    assert found == ({("gpu-b", waiting[0].demand)} if unused else set())
    assert preemptors(placements, gpus, owners, POLICY) == {}, "it may be for a moment only"
    assert list(preemptors(placements, gpus, owners, POLICY, found)) == (["gpu-a"] if unused else [])
