"""Two operators: one leads, the standby takes the lead after it, and never do both act."""

from collections.abc import Callable

import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

Start = Callable[..., OperatorProcess]


@pytest.fixture
def pair(world: World, start_operator: Start) -> tuple[OperatorProcess, OperatorProcess]:
    """A leader and a standby, both ready."""
    leader = start_operator(replica="one")
    eventually(lambda: world.leader() == "operator-one_one", "the first to lead")
    standby = start_operator(replica="two")
    eventually(lambda: "standby: " in standby.log(), "the second to stand by")
    eventually(lambda: "probes on port" in standby.log() and standby.probe("/readyz").is_success, "its caches")
    return leader, standby


def finish(world: World, resident: ScriptedResident) -> None:
    eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")
    eventually(world.no_reload_pending, "the Lease to be settled")
    assert resident.loaded


def test_the_standby_is_ready_and_does_nothing(
    world: World, resident: ScriptedResident, pair: tuple[OperatorProcess, OperatorProcess]
) -> None:
    leader, standby = pair
    assert leader.probe("/readyz").text == "ok: leads"
    assert standby.probe("/readyz").text == "ok: stands by"
    world.apply_job("digits")
    finish(world, resident)
    metrics = standby.probe("/metrics").text
    assert "gpu_relay_leader 0.0" in metrics
    assert 'gpu_relay_turns_total{gpu="' not in metrics
    assert not [line for line in metrics.splitlines() if "gpu_relay_resident_requests_total{" in line]
    writes = [line for line in metrics.splitlines() if "gpu_relay_api_requests_total{" in line and '"GET"' not in line]
    assert writes == []
    assert "gpu_relay_leader 1.0" in leader.probe("/metrics").text
    assert standby.probe("/healthz").is_success


def test_a_killed_leader_is_replaced_when_its_lease_has_run_out(
    world: World, resident: ScriptedResident, pair: tuple[OperatorProcess, OperatorProcess]
) -> None:
    leader, standby = pair
    resident.faults.leak_mib = 5000
    world.apply_job("digits")
    eventually(lambda: not resident.loaded, "the unload")
    leader.kill()
    resident.faults.leak_mib = 0
    eventually(lambda: world.leader() == "operator-two_two", "the second to lead")
    finish(world, resident)
    assert len({call["fence"] for call in resident.called("unload")}) == 1, "it continues the same turn"
    assert standby.running


def test_a_leader_that_stops_hands_over_at_once(
    world: World, resident: ScriptedResident, pair: tuple[OperatorProcess, OperatorProcess]
) -> None:
    leader, standby = pair
    world.apply_job("digits")
    eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")
    assert leader.stop() == 0
    assert world.leader() in {"", "operator-two_two"}, "its last act is to release the Lease"
    finish(world, resident)
    assert standby.running


def test_a_leader_that_was_asleep_does_nothing_when_it_wakes_up(
    world: World, resident: ScriptedResident, pair: tuple[OperatorProcess, OperatorProcess]
) -> None:
    """A paused virtual machine: it comes back in the midst of a turn that is another's by now."""
    leader, _ = pair
    resident.faults.unload = "not now"  # keeps the leader busy asking
    world.apply_job("digits")
    eventually(lambda: resident.called("unload"), "the leader to ask for the unload")
    leader.pause()
    eventually(lambda: world.leader() == "operator-two_two", "the second to lead")
    transitions = world.leader_transitions()
    leader.resume()
    assert leader.wait(10) == 1
    assert world.leader() == "operator-two_two"
    assert world.leader_transitions() == transitions
    resident.faults.unload = ""
    finish(world, resident)


def test_a_leader_that_loses_its_lease_ends(world: World, pair: tuple[OperatorProcess, OperatorProcess]) -> None:
    leader, standby = pair
    world.take_leadership("somebody")
    assert leader.wait(10) == 1
    assert "somebody has taken the leader's Lease" in leader.log()
    eventually(lambda: world.leader() == "operator-two_two", "the second to lead when somebody has let it run out")
    assert standby.running


def test_the_leader_recreates_a_deleted_lease(world: World, pair: tuple[OperatorProcess, OperatorProcess]) -> None:
    leader, standby = pair
    world.delete_leader_lease()
    eventually(lambda: world.leader() == "operator-one_one", "the Lease to be back")
    assert leader.running
    assert standby.running
