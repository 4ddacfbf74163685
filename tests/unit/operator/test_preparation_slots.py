"""How many jobs of a namespace are prepared at once."""

import pytest

from gpu_relay.api.v1alpha1 import Preparation
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.preparation_slots import share_out
from tests.support.builders import NOW, ago, job

POLICY = Policy(preparations=2, backoff_base=10)
UNDER_WAY = Preparation(number=1, pod="digits-1-prepare", start_time=ago(0))


def named(name: str, record: Preparation | None = None, *, namespace: str = "vision", priority: int = 0) -> Job:
    return job(name, namespace=namespace, status={"preparation": record} if record else None, priority=priority)


FAILING = UNDER_WAY.model_copy(update={"failing_since": ago(0)})
PAUSED = UNDER_WAY.model_copy(update={"reason": "Error", "failures": 1, "completion_time": ago(0)})


def test_each_namespace_has_slots_in_the_order_of_the_queue() -> None:
    jobs = [named("a", UNDER_WAY), named("b"), named("c", priority=1), named("d", namespace="other")]
    assert share_out(jobs, (), NOW, POLICY) == {"uid-b": False, "uid-c": True, "uid-d": True}


def test_a_paused_or_obstructed_job_needs_no_slot() -> None:
    jobs = [named("a", PAUSED), named("b"), named("c"), named("d")]
    shares = share_out(jobs, {"uid-b"}, NOW, Policy(preparations=1, backoff_base=10))
    assert shares == {"uid-a": None, "uid-b": None, "uid-c": True, "uid-d": False}


@pytest.mark.parametrize(("failing", "free"), [(0, 2), (1, 2), (2, 2), (3, 1), (4, 0), (5, 0)])
def test_failing_pods_free_a_bounded_number_of_slots(failing: int, free: int) -> None:
    stuck = [named(f"stuck-{number}", FAILING) for number in range(failing)]
    shares = share_out([*stuck, *(named(f"waits-{number}") for number in range(3))], (), NOW, POLICY)
    assert sum(share is True for share in shares.values()) == free
