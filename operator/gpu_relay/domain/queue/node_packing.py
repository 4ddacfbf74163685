"""Pod sets on nodes: which nodes the pods of a Workload fill, so that each pod's GPU is one of those measured.

The device plugin of a node chooses the GPUs of a pod. A Workload therefore takes all GPUs of each of its nodes.
"""

from collections.abc import Iterator, Mapping, Sequence


def pack(sizes: Sequence[int], nodes: Mapping[str, int]) -> dict[str, tuple[int, ...]] | None:
    """Return the pod sets that fill each node exactly, by their indexes; None if there is no such choice.

    `sizes` are the GPUs of each pod set, whose pods all run on one node; a pod set of 0 needs no node. `nodes` are the
    GPUs of each node: of nodes with equally many, the first in order is taken.
    """
    return _pack(sizes, frozenset(index for index, size in enumerate(sizes) if size), dict(nodes))


def fills(sizes: Sequence[int], gpus: int) -> bool:
    """Return whether some of the pod sets need exactly so many GPUs together."""
    return any(_filling(sizes, frozenset(index for index, size in enumerate(sizes) if size), gpus))


def _pack(sizes: Sequence[int], left: frozenset[int], nodes: dict[str, int]) -> dict[str, tuple[int, ...]] | None:
    """Place the largest pod set that is left, with others that fill its node, then the rest."""
    if not left:
        return {}
    largest = max(left, key=lambda index: (sizes[index], -index))
    tried: set[int] = set()
    for node, gpus in nodes.items():
        if gpus in tried:
            continue
        tried.add(gpus)
        rest = {name: count for name, count in nodes.items() if name != node}
        for chosen in _filling(sizes, left - {largest}, gpus - sizes[largest]):
            packed = _pack(sizes, left - {largest} - chosen, rest)
            if packed is not None:
                return {node: tuple(sorted({largest, *chosen})), **packed}
    return None


def _filling(sizes: Sequence[int], left: frozenset[int], gpus: int) -> Iterator[frozenset[int]]:
    """Yield the pod sets that need exactly so many GPUs together."""
    if gpus == 0:
        yield frozenset()
    if gpus <= 0:
        return
    for index in sorted(left):
        later = frozenset(other for other in left if other > index)
        for chosen in _filling(sizes, later, gpus - sizes[index]):
            yield chosen | {index}
