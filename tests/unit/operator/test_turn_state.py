"""Samples of free memory: a row begins immediately, its samples are spaced, and it may outlive its turn."""

from dataclasses import replace

from gpu_relay.controllers.turn_state import TurnState
from tests.support.builders import HOLD, lease, report

LEASE = lease()


def sample(memory: TurnState, at: float, *, loaded: bool = False, held: bool = True) -> None:
    memory.take_sample(report(loaded=loaded, hold=HOLD if held and not loaded else None), at, keep=3, apart=0.5)


def test_the_first_sample_under_a_hold_counts_immediately() -> None:
    memory = TurnState(LEASE)
    sample(memory, 100, loaded=True)
    sample(memory, 100)
    assert memory.samples == [14_910]


def test_samples_of_a_row_lie_apart() -> None:
    memory = TurnState(LEASE)
    for _ in range(3):
        sample(memory, 100)
    assert memory.samples == [14_910]
    sample(memory, 100.6)
    assert memory.samples == [14_910, 14_910]
    assert not memory.lacks_samples(3), "the last one comes with a look at everything"


def test_a_gap_ends_a_row() -> None:
    memory = TurnState(LEASE)
    sample(memory, 100)
    sample(memory, 100.6)
    sample(memory, 106)
    assert memory.samples == [14_910]


def test_a_loaded_or_unheld_resident_ends_a_row() -> None:
    for loaded, held in ((True, True), (False, False)):
        memory = TurnState(LEASE)
        sample(memory, 100)
        sample(memory, 101, loaded=loaded, held=held)
        assert memory.samples == []


def test_samples_after_the_last_trainer_count_in_the_next_turn() -> None:
    turn = TurnState(LEASE)
    sample(turn, 100)
    returned = TurnState.of(replace(LEASE, holder="resident"), turn)
    following = TurnState.of(replace(LEASE, holder="other", fence=8), returned)
    sample(following, 100.4)
    assert following.samples == [14_910], "too soon"
    sample(following, 100.5)
    assert following.samples == [14_910, 14_910]


def test_a_row_ends_where_another_turn_lies_between() -> None:
    turn = TurnState(LEASE)
    sample(turn, 100)
    assert TurnState.of(replace(LEASE, fence=9), turn).samples == []
