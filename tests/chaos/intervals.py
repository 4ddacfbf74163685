"""Sets of moments, as sorted pairs (begin, end) of the monotonic clock, in seconds."""

from collections.abc import Iterable

Spans = list[tuple[float, float]]


def union(spans: Iterable[tuple[float, float]]) -> Spans:
    """Return disjoint spans that cover the same moments, in order."""
    merged: Spans = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif begin < end:
            merged.append((begin, end))
    return merged


def minus(spans: Iterable[tuple[float, float]], taken: Iterable[tuple[float, float]]) -> Spans:
    """Return the moments of the first set that are not in the second."""
    holes = union(taken)
    left: Spans = []
    for begin, end in union(spans):
        for hole_begin, hole_end in holes:
            if hole_end <= begin or hole_begin >= end:
                continue
            if hole_begin > begin:
                left.append((begin, hole_begin))
            begin = max(begin, hole_end)
        if begin < end:
            left.append((begin, end))
    return left


def seconds(spans: Iterable[tuple[float, float]]) -> float:
    """Return the time that spans cover."""
    return sum(end - begin for begin, end in union(spans))
