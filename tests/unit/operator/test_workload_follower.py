"""What one process remembers of a Workload's turn between two reconciles."""

from typing import Any, cast

from gpu_relay.controllers.turn_state import TurnState
from gpu_relay.controllers.workload_follower import WorkloadFollower
from gpu_relay.domain.objects.checked_workload import CheckedWorkload
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.turn.workload_turn import PIN_SETTLES
from gpu_relay.domain.turn_view import TurnView
from tests.support import builders
from tests.unit.operator.test_workload_turn import KEY, READY, pod, view, workload

FOLLOWER = WorkloadFollower(cast("Any", None), cast("Any", None), Policy())


class Turn:
    """One process's memory of a turn, with a clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.state = TurnState(builders.lease(KEY), monotonic=lambda: self.now)

    def sees(self, one: CheckedWorkload | None, **fields: Any) -> TurnView:
        return FOLLOWER.completed(view(one, **fields), self.state)


def test_a_turn_has_ended_when_its_check_is_not_ready_any_more() -> None:
    """Kueue may evict a Workload and reserve its quota again between two reconciles."""
    turn = Turn()
    assert not turn.sees(workload()).has_ended, "it has not begun"
    assert not turn.sees(workload(READY, admitted=True)).has_ended
    assert turn.sees(workload()).has_ended
    assert turn.sees(workload()).stopped_for == 0.0
    turn.now += 5
    assert turn.sees(workload()).stopped_for == 5.0


def test_a_turn_whose_label_was_removed_has_ended() -> None:
    """A process that began in the middle of a turn sees an eviction, and then a new reservation."""
    turn = Turn()
    turn.state.note_pin(removed=False)
    assert not turn.sees(workload()).has_ended
    turn.state.note_pin(removed=True)
    assert turn.sees(workload()).has_ended
    assert turn.sees(workload(READY)).has_ended, "ordered by an earlier process: its pods would find no node"


def test_pods_find_the_node_until_the_removal_of_its_label_has_settled() -> None:
    turn = Turn()
    assert (turn.sees(None).is_pinned, turn.sees(None).pod_may_appear) == (False, False)
    turn.state.note_pin(removed=False)
    assert (turn.sees(None).is_pinned, turn.sees(None).pod_may_appear) == (True, True)
    turn.state.note_pin(removed=True)
    assert (turn.sees(None).is_pinned, turn.sees(None).pod_may_appear) == (False, True)
    turn.now += PIN_SETTLES
    assert not turn.sees(None).pod_may_appear


def test_the_memory_before_a_pod_with_several_gpus_is_known_on_each_of_them() -> None:
    """The labels of such a pod name another GPU, and its fence."""
    other = pod(gpu="gpu-0", fence=99, proven_mib=12_000)
    assert Turn().sees(workload(READY, admitted=True), pods=(other,)).remembered_proof == 12_000
    turn = Turn()
    turn.sees(None, pods=(other,))
    assert turn.sees(None).proven_mib == 12_000, "also when the pod is gone"
    assert Turn().sees(None, pods=(pod(workload_uid="uid-b", proven_mib=12_000),)).remembered_proof is None
