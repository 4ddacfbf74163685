"""All GPUs of a Workload at once, or none: two Workloads that each had some of the other's GPUs would wait forever."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from gpu_relay.domain.objects.checked_workload import CheckedWorkload
from gpu_relay.domain.objects.demand import Demand
from gpu_relay.domain.quantities import parse_time
from gpu_relay.domain.queue.candidate import Candidate
from gpu_relay.domain.queue.node_packing import pack

KEPT_FOR = timedelta(minutes=10)
"""For how long after its quota a Workload with several GPUs keeps those that are free, until the others are."""


def choose_nodes(demand: Demand, gpus: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the GPUs of the first nodes that the pods of a Workload fill, ordered by name; none without such nodes."""
    nodes = _by_node(gpus)
    whole = {node: len(found) for node, found in nodes.items() if len(found) == found[0].node_gpus}
    packed = pack(demand.pod_sets, whole) or {}
    chosen = {node for taken in packed.values() for node in taken}
    return tuple(sorted((each for node in chosen for each in nodes[node]), key=lambda each: each.gpu))


def kept_for(
    workload: CheckedWorkload, free: Sequence[Candidate], suitable: Sequence[Candidate], now: datetime
) -> tuple[Candidate, ...]:
    """Return the free GPUs that a Workload with several GPUs keeps: of the nodes that have most of them.

    That ends some time after its quota was reserved, so that others do not wait for the longest training on its nodes.
    """
    demand = workload.demand
    if demand.total_gpus < 2 or now > parse_time(workload.queued_since) + KEPT_FOR:
        return ()
    open_ones = {each.gpu for each in free}
    nodes = _by_node(suitable)
    busy = {node: sum(each.gpu not in open_ones for each in found) for node, found in nodes.items()}
    first = sorted(suitable, key=lambda each: (busy[_node_of(each)], _node_of(each)))
    return tuple(each for each in choose_nodes(demand, first) if each.gpu in open_ones)


def too_few_nodes(demand: Demand, suitable: Sequence[Candidate]) -> str:
    """Return why the GPUs that suit a Workload do not fill nodes."""
    sizes = ", ".join(f"{node} has {len(found)}" for node, found in sorted(_by_node(suitable).items()))
    return f"its pods must use all GPUs of their nodes, and request {demand.gpus_text}; of the nodes that suit, {sizes}"


def _by_node(gpus: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    nodes: dict[str, list[Candidate]] = {}
    for each in gpus:
        nodes.setdefault(_node_of(each), []).append(each)
    return nodes


def _node_of(gpu: Candidate) -> str:
    return gpu.resident.node if gpu.resident is not None else ""
