"""What the operator does while the pods of a plain Job run, with the real Kueue and Job controller."""

import signal
from collections.abc import Callable, Iterator

import pytest

from devcluster import Cluster, kueue
from devcluster.processes import Processes
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.controlplane.kueue.plain_jobs import PlainJobs, gives_back

Start = Callable[..., OperatorProcess]


def gives_way(world: World, jobs: PlainJobs, name: str) -> None:
    """Wait until Kueue has stopped a Job; its pod ends when it is asked to, and Kueue queues the Job again."""
    pod = jobs.pods(name)[0]["metadata"]["name"]
    eventually(lambda: jobs.holds(name, "Evicted"), f"{name} to be evicted")
    world.delete_as_kubelet(pod)


def test_a_job_yields_when_the_resident_was_unloaded_for_long(
    world: World, resident: ScriptedResident, jobs: PlainJobs, start_operator: Start
) -> None:
    start_operator(max_outage="3", min_serve="1")
    jobs.create("yielding", yield_="true")
    jobs.starts("yielding")
    resident.refused = 3
    gives_way(world, jobs, "yielding")
    assert "YieldingToResident" in jobs.reasons("yielding")
    eventually(lambda: resident.loaded, "SAM3 to serve")
    resident.refused = 0
    jobs.starts("yielding")
    jobs.ends("yielding")
    gives_back(world, resident)


def test_a_job_that_does_not_yield_keeps_the_gpu(
    world: World, resident: ScriptedResident, jobs: PlainJobs, start_operator: Start
) -> None:
    operator = start_operator(max_outage="1", min_serve="1")
    jobs.create("stays")
    jobs.starts("stays")
    resident.refused = 3
    jobs.create("next")
    jobs.says("next", "others are ahead")
    decided = operator.log().count("reconciled")
    eventually(lambda: operator.log().count("reconciled") > decided + 20, "further reconciles")
    assert not jobs.holds("stays", "Evicted")
    jobs.ends("stays")
    jobs.starts("next")
    jobs.ends("next")
    gives_back(world, resident)


def test_a_turn_lasts_no_longer_than_its_annotation_while_another_waits(
    world: World, resident: ScriptedResident, jobs: PlainJobs, start_operator: Start
) -> None:
    start_operator()
    jobs.create("limited", max_outage="4s")
    jobs.starts("limited")
    jobs.create("next")
    gives_way(world, jobs, "limited")
    jobs.starts("next")
    jobs.ends("next")
    jobs.starts("limited")
    jobs.ends("limited")
    gives_back(world, resident)


def test_a_pod_that_takes_more_than_it_requested_is_reported(
    world: World, resident: ScriptedResident, jobs: PlainJobs, start_operator: Start
) -> None:
    start_operator()
    jobs.create("greedy")
    jobs.starts("greedy")
    resident.trainer_mib = 12_000
    eventually(lambda: "MemoryExceeded" in jobs.reasons("greedy"), "a warning on the Job")
    assert not jobs.holds("greedy", "Evicted")
    resident.trainer_mib = 0
    jobs.ends("greedy")
    gives_back(world, resident)


@pytest.fixture
def stopped_kueue(cluster: Cluster) -> Iterator[Callable[[], None]]:
    """Stop Kueue's process; it continues at the end."""
    process = Processes(cluster.run_dir).all()[kueue.PROGRAM]
    yield lambda: process.signal(signal.SIGSTOP)
    process.signal(signal.SIGCONT)


def test_the_gpu_goes_back_while_kueue_is_down(
    world: World,
    resident: ScriptedResident,
    jobs: PlainJobs,
    start_operator: Start,
    stopped_kueue: Callable[[], None],
) -> None:
    """Law 9: Kueue does not see that the Job has failed, and its webhook refuses the eviction."""
    start_operator(max_idle_outage="5", request_timeout="3")
    jobs.create("abandoned")
    pod = jobs.starts("abandoned")["metadata"]["name"]
    stopped_kueue()
    world.set_pod(pod, phase="Failed")
    gives_back(world, resident)
