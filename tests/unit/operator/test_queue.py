"""The order of the queue, and which job gets which GPU."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gpu_relay.api.words import Reason
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.candidate import Candidate
from gpu_relay.domain.queue.order import queue_key
from gpu_relay.domain.queue.placement import (
    assign,
    explain_placement,
    is_ready,
    next_for,
    not_before,
    waits_for_time,
)
from tests.support.builders import MODEL_MIB, NOW, ago, attempt, attempts, candidate, job, lease, report


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
def test_assignments_match_the_explanations(pauses: list[bool], gpus: int) -> None:
    """Jobs in backoff are skipped, and the queue is scheduled again when the backoff ends."""
    failed = [attempt(completion_time=ago(0))]
    waiting = [job(f"j{n}", status={"attempts": failed if each else []}) for n, each in enumerate(pauses)]
    candidates = [Candidate(f"gpu-{n}", None, {}) for n in range(gpus)]
    given_away = assign(waiting, candidates, NOW, Policy())
    assert [each for each, _ in given_away] == [each for each in waiting if not each.status.attempts][:gpus]
    assert len({gpu.gpu for _, (gpu,) in given_away}) == len(given_away)
    placements = explain_placement(waiting, candidates, NOW, Policy())
    assert [(each.claim, each.gpus) for each in placements if each.gpus] == given_away
    assert waits_for_time(waiting, candidates, NOW, Policy()) == any(pauses)


def test_the_pause_doubles_with_each_failure_that_counts() -> None:
    policy = Policy(backoff_base=10, backoff_cap=30)
    end = datetime(2026, 1, 1, 11, 59, tzinfo=UTC)
    for reasons, seconds in (
        (["Error"], 10), (["Error"] * 2, 20), (["Error"] * 5, 30), (["Interrupted"], 10), (["WrongGpu"] * 2, 20),
        (["WaitingForMemory"] * 5, 30), (["WrongGpu", "Suspended", "Interrupted"], 10),
    ):  # fmt: skip
        assert not_before(job(status={"attempts": attempts(*reasons)}), policy) == end + timedelta(seconds=seconds)
    assert not_before(job(), policy) is None


POLICY = Policy(preparations=0)
LOADED = report(loaded=True, worker_allocated_mib=MODEL_MIB, worker_cap_mib=MODEL_MIB)


def test_a_held_job_is_skipped() -> None:
    first, second = job("first"), job("second")
    held = {"uid-first": (Reason.POD_REFUSED, "exceeded quota")}
    gpus = [candidate(LOADED)]
    assert [each.key.name for each, _ in assign([first, second], gpus, NOW, POLICY, held)] == ["second"]
    placements = explain_placement([first, second], gpus, NOW, POLICY, held)
    assert (placements[0].reason, placements[0].message) == (Reason.POD_REFUSED, "exceeded quota")
    assert next_for([first, second], gpus[0], NOW, POLICY, held) == second


def test_the_gpu_of_a_fruitless_attempt_is_the_last_choice() -> None:
    gpus = [candidate(LOADED, "gpu-1"), candidate(LOADED, "gpu-2")]
    for reason, chosen in (("ResidentUnreachable", "gpu-2"), ("Completed", "gpu-1")):
        waiting = [job(status={"attempts": [attempt(1, reason, completion_time=ago(3600))]})]
        assert [gpu.gpu for _, (gpu,) in assign(waiting, gpus, NOW, POLICY)] == [chosen]
    waiting = [job(status={"attempts": [attempt(1, "WrongGpu", completion_time=ago(3600))]})]
    assert [gpu.gpu for _, (gpu,) in assign(waiting, gpus[:1], NOW, POLICY)] == ["gpu-1"]


def test_a_reload_that_a_silent_resident_delays_is_the_reason_to_wait() -> None:
    pending = lease(None, reload_pending="yolotrainingjob/vision/before/uid")
    for reported, held_by, reason in (
        (None, pending, Reason.RESIDENT_UNREACHABLE),
        (LOADED, pending, Reason.WAITING_IN_QUEUE),
        (None, lease(), Reason.WAITING_IN_QUEUE),
    ):
        gpus = [candidate(reported, lease=held_by)]
        (placement,) = explain_placement([job()], gpus, NOW, POLICY)
        assert (placement.gpu, placement.reason) == (None, reason)
        assert not waits_for_time([job()], gpus, NOW, POLICY), "the turn controller asks the resident"


@given(st.lists(st.sampled_from(["gpu-1", "gpu-2", "gpu-3"]), unique=True), st.sets(st.integers(0, 4)))
def test_each_gpu_is_assigned_once_and_never_to_a_held_job(free: list[str], held: set[int]) -> None:
    jobs = [job(f"job-{number}") for number in range(5)]
    reasons = {f"uid-job-{number}": (Reason.POD_REFUSED, "m") for number in held}
    given_away = assign(jobs, [candidate(LOADED, gpu) for gpu in free], NOW, POLICY, reasons)
    assert len({gpu.gpu for _, (gpu,) in given_away}) == len(given_away) == min(len(free), 5 - len(held))
    assert not any(each.key.uid in reasons for each, _ in given_away)
