"""Pod sets on nodes: which nodes the pods of a Workload fill, so that each pod's GPU is one of those measured.

The device plugin of a node chooses the GPUs of a pod. A Workload therefore takes all GPUs of each of its nodes.
"""

from collections.abc import Iterator, Mapping, Sequence

from gpu_relay.domain.objects.demand import PodGpus

Packing = dict[int, tuple[str, ...]]
"""The nodes of each pod set, by its index. A pod set of several nodes has them for itself, all of equally many GPUs."""


def pack(sets: Sequence[PodGpus], nodes: Mapping[str, int]) -> Packing | None:
    """Return the nodes of each pod set that needs GPUs, all of which are filled exactly; None without such a choice.

    `nodes` are the GPUs of each node: of nodes with equally many, the first in order is taken. A pod set runs on one
    node if it can, alone or with others. Its pods are spread over nodes only if each node takes equally many of them:
    the scheduler may then place any of them on any of its nodes.
    """
    return _pack(sets, frozenset(index for index, each in enumerate(sets) if each.total), dict(nodes))


def fills(sets: Sequence[PodGpus], gpus: int) -> bool:
    """Return whether pods of these sets can use all GPUs of a node that has so many."""
    using = frozenset(index for index, each in enumerate(sets) if each.total)
    together = any(_filling(sets, using, gpus))
    return together or any(_spreads(sets[index], gpus) for index in using)


def _pack(sets: Sequence[PodGpus], left: frozenset[int], nodes: dict[str, int]) -> Packing | None:
    """Place the largest pod set that is left, with others that fill its node, then the rest."""
    if not left:
        return {}
    largest = max(left, key=lambda index: (sets[index].total, -index))
    for placed in _choices(sets, left, nodes, largest):
        used = {node for taken in placed.values() for node in taken}
        rest = {node: gpus for node, gpus in nodes.items() if node not in used}
        packed = _pack(sets, left - placed.keys(), rest)
        if packed is not None:
            return {**placed, **packed}
    return None


def _choices(
    sets: Sequence[PodGpus], left: frozenset[int], nodes: Mapping[str, int], largest: int
) -> Iterator[Packing]:
    """Yield how a pod set can be placed: with others on one node, or alone on several."""
    by_size: dict[int, list[str]] = {}
    for node, gpus in nodes.items():
        by_size.setdefault(gpus, []).append(node)
    for gpus, (node, *_) in by_size.items():
        for others in _filling(sets, left - {largest}, gpus - sets[largest].total):
            yield dict.fromkeys({largest, *others}, (node,))
    for gpus, found in by_size.items():
        count = sets[largest].total // gpus
        if _spreads(sets[largest], gpus) and count <= len(found):
            yield {largest: tuple(found[:count])}


def _spreads(size: PodGpus, gpus: int) -> bool:
    """Return whether the pods of a set fill several nodes that have so many GPUs each."""
    return 0 < gpus < size.total and size.total % gpus == 0 and gpus % size.each == 0


def _filling(sets: Sequence[PodGpus], left: frozenset[int], gpus: int) -> Iterator[frozenset[int]]:
    """Yield the pod sets that need exactly so many GPUs together."""
    if gpus == 0:
        yield frozenset()
    if gpus <= 0:
        return
    for index in sorted(left):
        later = frozenset(other for other in left if other > index)
        for chosen in _filling(sets, later, gpus - sets[index].total):
            yield chosen | {index}
