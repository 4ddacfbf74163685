"""What a process remembers of Workloads: their pauses, and which of their GPUs are proven free."""

from gpu_relay.api.words import Reason
from gpu_relay.controllers.turn_state import LONGEST_GAP, TurnState
from gpu_relay.controllers.workload_pauses import WorkloadPauses
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.turn_view import ProvenGpu
from tests.support.builders import FREE_MIB, lease


def test_a_pause_doubles_with_each_turn_without_use() -> None:
    now = 0.0
    pauses = WorkloadPauses(Policy(backoff_base=10, backoff_cap=30), lambda: now)
    lengths = []
    for _ in range(3):
        pauses.hold("u", "no pod")
        lengths.append(pauses.next_end())
        assert pauses.held() == {"u": (Reason.WAITING_FOR_BACKOFF, "no pod")}
        now += lengths[-1] or 0.0
        assert not pauses.held()
    assert lengths == [10, 20, 30]


def test_the_gpus_of_one_turn_cause_one_pause() -> None:
    pauses = WorkloadPauses(Policy(backoff_base=10), lambda: 0.0)
    for number in range(4):
        pauses.hold("u", f"GPU {number} returned")
    assert pauses.next_end() == 10
    assert pauses.held()["u"][1] == "GPU 0 returned"


def three(now: list[float]) -> list[TurnState]:
    """Return the states of three GPUs of one Workload, by name."""
    states = [TurnState(lease(gpu=f"gpu-{number}"), lambda: now[0]) for number in range(3)]
    for each in states:
        each.companions = tuple(other for other in states if other is not each)
    return states


def proof(number: int) -> ProvenGpu:
    return ProvenGpu(f"gpu-{number}", 1, f"GPU-{number}", "node-1", "node-1", FREE_MIB)


def test_one_gpu_says_what_a_workload_waits_for() -> None:
    states = three([0.0])
    assert [each.is_first_unproven for each in states] == [True, False, False]
    states[0].proof = proof(0)
    assert [each.is_first_unproven for each in states[1:]] == [True, False]


def test_a_proof_ends_with_its_measurements() -> None:
    now = [100.0]
    state = three(now)[0]
    state.proof, state.reported_at = proof(0), 100.0
    assert state.recent_proof == proof(0)
    now[0] += LONGEST_GAP
    assert state.recent_proof is None, "too old"
    now[0] = 100.0
    state.forget_samples()
    assert state.recent_proof is None, "a new row of samples begins"
