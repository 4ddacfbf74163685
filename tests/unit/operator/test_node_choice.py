"""All GPUs of a Workload at once: which nodes its pods fill, and which free GPUs it keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from gpu_relay.api.words import Reason
from gpu_relay.domain.objects.checked_workload import CheckedWorkload, CheckEntry
from gpu_relay.domain.objects.demand import PodGpus
from gpu_relay.domain.objects.owner import WORKLOAD, JobKey
from gpu_relay.domain.objects.pod_set import PodSet
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.candidate import Candidate, filter_reason
from gpu_relay.domain.queue.node_packing import fills, pack
from gpu_relay.domain.queue.placement import assign, explain_placement, next_for
from tests.support.builders import MODEL_MIB, NOW, ago, candidate, job, lease, report

POLICY = Policy(preparations=0)
LOADED = report(loaded=True, worker_allocated_mib=MODEL_MIB, worker_cap_mib=MODEL_MIB)


def workload(name: str, *gpus: int | PodGpus, since: float = 60) -> CheckedWorkload:
    """Return a Workload with pod sets of so many GPUs, whose quota was reserved so many seconds ago.

    A number stands for one pod.
    """
    key, created = JobKey("vision", name, f"uid-{name}", WORKLOAD), ago(since)
    sizes = (each if isinstance(each, PodGpus) else PodGpus(1, each) for each in gpus)
    sets = tuple(PodSet(f"set-{number}", size) for number, size in enumerate(sizes))
    entry = CheckEntry("gpu-relay", "Pending")
    return CheckedWorkload(
        key, "1", created, entry, reserved=True, reserved_since=created, pod_sets=sets, need_mib=1024
    )


def nodes(**sizes: int) -> list[Candidate]:
    """Return the GPUs of nodes, all free."""
    found = []
    for name, size in sizes.items():
        for number in range(size):
            one = candidate(LOADED, f"{name}-{number}", siblings=size - 1)
            assert one.resident is not None
            found.append(replace(one, resident=replace(one.resident, node=name)))
    return found


def busy(gpus: Sequence[Candidate], *names: str) -> list[Candidate]:
    return [replace(each, lease=lease(job("other"), each.gpu)) if each.gpu in names else each for each in gpus]


def names(given: Sequence[Candidate]) -> list[str]:
    return [each.gpu for each in given]


def brute_force(sizes: Sequence[int], free: Mapping[str, int]) -> bool:
    """Return whether the pod sets fill some of the nodes exactly, by trying all orders."""
    wanted = [size for size in sizes if size]
    for order in permutations(wanted):
        for capacities in permutations(free.values()):
            left, fits = 0, True
            remaining = iter(capacities)
            for size in order:
                if left == 0:
                    left = next(remaining, 0)
                fits = fits and size <= left
                left -= size
            if fits and left == 0:
                return True
    return not wanted


@given(st.lists(st.integers(0, 4), max_size=4), st.lists(st.integers(1, 4), max_size=4))
def test_packing_finds_a_choice_if_there_is_one(sizes: list[int], capacities: list[int]) -> None:
    free = {f"node-{number}": gpus for number, gpus in enumerate(capacities)}
    packed = pack([PodGpus(1, size) for size in sizes], free)
    assert (packed is not None) == brute_force(sizes, free)
    if packed is not None:
        assert sorted(packed) == [index for index, size in enumerate(sizes) if size]
        assert all(len(taken) == 1 for taken in packed.values()), "each pod has one node"
        used = {node: sum(sizes[index] for index, taken in packed.items() if node in taken) for node in free}
        assert all(gpus in {0, free[node]} for node, gpus in used.items()), "whole nodes"


SETS = st.builds(PodGpus, st.integers(0, 4), st.integers(0, 3))


@given(st.lists(SETS, max_size=4), st.lists(st.integers(1, 4), max_size=6))
def test_pods_are_placed_right_wherever_the_scheduler_puts_them(sets: list[PodGpus], capacities: list[int]) -> None:
    free = {f"node-{number}": gpus for number, gpus in enumerate(capacities)}
    packed = pack(sets, free)
    if packed is None:
        return
    assert sorted(packed) == [index for index, each in enumerate(sets) if each.total], "all that need GPUs"
    users = {node: [index for index, taken in packed.items() if node in taken] for node in free}
    for node, indexes in users.items():
        spread = [index for index in indexes if len(packed[index]) > 1]
        if spread:
            assert indexes == spread and len(spread) == 1, "no other pod takes its place"
            assert free[node] % sets[spread[0]].each == 0, "its pods leave no GPU over"
        elif indexes:
            assert sum(sets[index].total for index in indexes) == free[node]
    for index, taken in packed.items():
        assert sum(free[node] for node in taken) == sets[index].total or len(taken) == 1
        assert len({free[node] for node in taken}) == 1


def test_some_pod_sets_fill_a_node() -> None:
    singles = [PodGpus(1, gpus) for gpus in (1, 3, 2)]
    assert fills(singles, 5) and fills(singles, 6)
    assert not fills([PodGpus(1, 3)] * 2, 4) and not fills([PodGpus(1, 0)], 1)
    assert fills([PodGpus(4, 2)], 4) and not fills([PodGpus(4, 2)], 3) and not fills([PodGpus(4, 3)], 2)


def test_a_pod_set_is_spread_over_equal_nodes_for_itself() -> None:
    workers = PodGpus(3, 1)
    assert pack([workers], {"a": 1, "b": 1, "c": 1}) == {0: ("a", "b", "c")}
    assert pack([workers], {"a": 1, "b": 3, "c": 1}) == {0: ("b",)}, "one node if it can"
    assert pack([workers], {"a": 1, "b": 2}) is None, "the scheduler could place two pods where one must be"
    assert pack([PodGpus(), workers], {"a": 2, "b": 2}) is None, "a worker could take the place of the master"
    assert pack([PodGpus(), workers], {"a": 1, "b": 1, "c": 1, "d": 1}) == {1: ("a", "b", "c"), 0: ("d",)}
    assert pack([PodGpus(4, 2)], {"a": 4, "b": 4}) == {0: ("a", "b")}


def test_a_spread_workload_gets_all_of_its_nodes_or_nothing() -> None:
    gpus, wide = nodes(a=1, b=1, c=1), workload("w", PodGpus(3, 1))
    [(_, given)] = assign([wide], gpus, NOW, POLICY)
    assert names(given) == ["a-0", "b-0", "c-0"]
    assert not assign([wide], busy(gpus, "b-0"), NOW, POLICY)
    (waits,) = explain_placement([wide], nodes(a=1, b=1), NOW, POLICY)
    assert waits.reason == Reason.NO_GPU_FITS
    assert "request 3 x 1; of the nodes that suit, a has 1, b has 1" in waits.message


def test_a_workload_gets_whole_nodes_or_nothing() -> None:
    gpus = nodes(a=1, b=2, c=4)
    [(_, given)] = assign([workload("w", 1, 1)], gpus, NOW, POLICY)
    assert names(given) == ["b-0", "b-1"], "one node for both"
    [(_, given)] = assign([workload("w", 4, 1)], gpus, NOW, POLICY)
    assert names(given) == ["a-0", "c-0", "c-1", "c-2", "c-3"]
    assert not assign([workload("w", 4)], busy(gpus, "c-2"), NOW, POLICY)
    half = busy(nodes(b=2, c=4), "c-0", "c-1")
    assert not assign([workload("w", 2, 2)], half, NOW, POLICY), "two free GPUs of four are no node"


def test_a_workload_that_no_nodes_fit_says_so() -> None:
    gpus = nodes(a=1, b=4)
    (three,) = explain_placement([workload("w", 3)], gpus, NOW, POLICY)
    assert three.reason == Reason.NO_GPU_FITS
    assert "node b has 4 GPUs" in three.message and "this one requests 3" in three.message
    (two,) = explain_placement([workload("w", 1, 1)], gpus, NOW, POLICY)
    assert two.reason == Reason.NO_GPU_FITS
    assert "request 1 and 1; of the nodes that suit, a has 1" in two.message
    unmeasured = replace(gpus[0], node_labels={"nvidia.com/gpu.count": "2"})
    assert "residents measure 1 of them" in str(filter_reason(workload("w", 2).demand, unmeasured, POLICY))


def test_two_workloads_never_share_their_gpus() -> None:
    """Each needs all four: one has them, the other has none."""
    first, second = workload("first", 4), workload("second", 2, 2, since=30)
    [(one, given)] = assign([first, second], nodes(a=4), NOW, POLICY)
    assert (one, len(given)) == (first, 4)


def test_free_gpus_are_kept_for_a_time() -> None:
    gpus = busy(nodes(a=2, b=2), "a-0", "b-0", "b-1")
    wide, small = workload("wide", 2), job("small")
    assert not assign([wide, small], gpus, NOW, POLICY), "a-1 waits for a-0"
    [(one, given)] = assign([wide, small], busy(nodes(a=2, b=2), "a-0"), NOW, POLICY)[:1]
    assert (one, names(given)) == (wide, ["b-0", "b-1"])
    late = workload("wide", 2, since=601)
    [(taken, given)] = assign([late, small], gpus, NOW, POLICY)
    assert (taken, names(given)) == (small, ["a-1"]), "others wait for no more than ten minutes"


def test_one_free_gpu_does_not_go_to_a_workload_with_several() -> None:
    gpu = nodes(a=2)[0]
    assert next_for([workload("wide", 2)], gpu, NOW, POLICY) is None
    assert next_for([workload("wide", 2), job("small")], gpu, NOW, POLICY) == job("small")
