"""What each state admits, and when the server loads by itself."""

import pytest

from residency.errors import NotEnoughMemoryError
from residency.hold import Hold, Terms
from residency.load_permission import require_memory
from residency.reload import ReloadSchedule
from residency.state import State, refusal_reason

HOLD = Hold(Terms("job/a", 1, 60.0, "key"), 0.0, 60.0)


@pytest.mark.parametrize("state", State)
def test_a_hold_refuses_requests_in_every_state(state: State) -> None:
    reason = refusal_reason(state, HOLD)
    assert reason is not None
    assert "job/a" in reason


@pytest.mark.parametrize(
    ("state", "admitted"),
    [
        (State.UNLOADED, True),
        (State.LOADING, True),
        (State.LOADED, True),
        (State.DRAINING, False),
        (State.UNLOADING, False),
        (State.FAILED, False),
    ],
)
def test_without_a_hold_the_state_decides(state: State, admitted: bool) -> None:
    assert (refusal_reason(state, None) is None) is admitted


def test_memory_must_cover_the_need() -> None:
    require_memory(free_mib=14000, need_mib=14000)
    with pytest.raises(NotEnoughMemoryError, match=r"14000 MiB .* 13999 MiB are free"):
        require_memory(free_mib=13999, need_mib=14000)


def test_memory_is_tried_each_second_and_errors_back_off() -> None:
    reload = ReloadSchedule()
    assert not reload.due(0.0)
    reload.request()
    assert reload.due(0.0)
    for _ in range(10):
        reload.record_failure(now=100.0, waits_for_memory=True)
    assert not reload.due(100.9)
    assert reload.due(101.0)
    delays = []
    for _ in range(7):
        reload.record_failure(now=0.0, waits_for_memory=False)
        delays.append(next(seconds for seconds in range(100) if reload.due(float(seconds))))
    assert delays == [2, 4, 8, 16, 30, 30, 30]
    reload.cancel()
    assert not reload.due(1e9)
