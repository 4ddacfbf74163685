"""The cluster's time on a machine whose clock is wrong."""

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_relay.clients.clock import ClusterClock
from gpu_relay.domain.job.attempts import attempt_of
from gpu_relay.domain.objects.pod import Termination
from tests.support.builders import NOW, job, pod


@given(
    st.floats(-1e6, 1e6),
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 0.5), st.floats(0, 0.5)), min_size=1, max_size=20),
)
def test_the_clock_is_right_within_a_second_and_a_request(
    skew: float, answers: list[tuple[float, float, float]]
) -> None:
    """`skew` is how far this machine is behind; each answer has a pause before it and two ways."""
    clock, local = ClusterClock(), 1_800_000_000.0
    for pause, there, back in answers:
        asked = local + pause
        local = asked + there + back
        clock.heard(formatdate(int(asked + there + skew), usegmt=True), asked, local)
        error = abs(clock._ahead - skew)
        assert error <= 1 + there + back + 1e-3


def test_a_right_clock_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ClusterClock()
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.7)
    clock.heard(formatdate(1_800_000_000, usegmt=True), 1_800_000_000.6, 1_800_000_000.7)
    assert clock.now().timestamp() == 1_800_000_000.7
    clock.heard("", 0, 0)
    clock.heard("yesterday", 0, 0)
    assert clock.now().timestamp() == 1_800_000_000.7


@pytest.mark.parametrize(
    ("finished", "recorded"),
    [
        (None, "2026-01-01T12:00:00Z"),
        ("2026-01-01T11:59:30Z", "2026-01-01T11:59:30Z"),
        ("2026-01-01T13:00:00Z", "2026-01-01T12:00:00Z"),
    ],
)
def test_a_node_that_is_ahead_delays_no_attempt(finished: str | None, recorded: str) -> None:
    end = Termination(1, "Error", {"reason": "Error"}, finished=finished)
    failed = pod(phase="Failed", termination=end)
    assert attempt_of(job(), failed, end, NOW).completion_time == recorded
