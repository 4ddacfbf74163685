"""Errors about one object: it alone is deferred, for longer each time, and everything else continues."""

import asyncio
from dataclasses import dataclass

import pytest

from gpu_relay.clients.kube import KubeError
from gpu_relay.controllers.runtime.isolation import Isolation, soonest
from gpu_relay.leaderelection.elector import NotLeadingError
from gpu_relay.observability.metrics import PASS_ERRORS


@dataclass
class Clock:
    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


def fail(isolation: Isolation, uid: str, error: BaseException | None = None) -> None:
    with isolation.guard(uid, f"vision/{uid}"):
        raise error or RuntimeError("no")


def test_an_error_ends_the_work_on_its_object_alone() -> None:
    isolation, done = Isolation("test"), []
    for uid in ("a", "b", "c"):
        with isolation.guard(uid, uid):
            if uid == "b":
                raise ValueError(uid)
            done.append(uid)
    assert done == ["a", "c"]
    assert [uid for uid in ("a", "b", "c") if isolation.defers(uid)] == ["b"]


def test_a_failing_object_backs_off_up_to_a_limit() -> None:
    clock = Clock()
    isolation, pauses = Isolation("test", clock), []
    for _ in range(12):
        fail(isolation, "a")
        pause = isolation.requeue_after()
        assert pause is not None
        assert isolation.defers("a")
        clock.seconds += pause
        assert not isolation.defers("a")
        pauses.append(pause)
    assert pauses == sorted(pauses)
    assert pauses[0] < 1 < pauses[4]
    assert pauses[-1] == pauses[-2] == 60


def test_success_ends_the_back_off() -> None:
    clock = Clock()
    isolation = Isolation("test", clock)
    for _ in range(5):
        fail(isolation, "a")
    clock.seconds = 100
    with isolation.guard("a", "a"):
        pass
    fail(isolation, "a")
    assert isolation.requeue_after() == pytest.approx(0.5)


def test_what_was_left_out_is_asked_for_again_when_it_is_due() -> None:
    clock = Clock()
    isolation = Isolation("test", clock)
    assert isolation.requeue_after() is None
    fail(isolation, "a")
    assert isolation.requeue_after() == pytest.approx(0.5)
    assert isolation.requeue_after() is None  # no access in this pass: the object may be deleted
    clock.seconds = 0.4
    assert isolation.defers("a")
    clock.seconds = 0.6  # due while the pass still ran
    assert isolation.requeue_after() == 0


@pytest.mark.parametrize("status", [0, 429, 503])
def test_an_unavailable_api_server_ends_the_pass(status: int) -> None:
    isolation = Isolation("test")
    with pytest.raises(KubeError):
        fail(isolation, "a", KubeError(status, "", "no answer"))
    assert isolation.defers("a")


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 500, 504])
def test_an_answer_about_one_object_ends_the_work_on_it_alone(status: int) -> None:
    isolation = Isolation("test")
    fail(isolation, "a", KubeError(status, "", "a webhook fails"))
    assert isolation.defers("a")


@pytest.mark.parametrize("error", [asyncio.CancelledError(), NotLeadingError()])
def test_cancellation_and_lost_leadership_are_not_isolated(error: BaseException) -> None:
    isolation = Isolation("test")
    with pytest.raises(type(error)):
        fail(isolation, "a", error)
    assert not isolation.defers("a")


def test_errors_are_counted_by_kind() -> None:
    counter = PASS_ERRORS.labels("counted")
    fail(Isolation("counted"), "a")
    assert counter._value.get() == 1


def test_what_is_gone_is_forgotten() -> None:
    clock = Clock()
    isolation = Isolation("test", clock)
    for number in range(100):
        fail(isolation, f"job-{number}")
    clock.seconds = 10_000
    fail(isolation, "a")
    assert list(isolation._failures) == ["a"]


def test_the_soonest_of_some_waits() -> None:
    assert soonest(None, 3.0, 1.0) == 1.0
    assert soonest(None, None) is None
