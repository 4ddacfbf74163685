"""Fewer points for an outline that follows the edges of pixels: the algorithm of Ramer, Douglas and Peucker."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
LEAST_TOLERANCE = 0.75
"""Pixels. An outline follows corners of pixels, which are up to 0.71 px beside the edge that they show."""


def simplified(flat: Sequence[float], share: float) -> list[list[float]]:
    """Return the [x, y] points of a closed outline (x1, y1, x2, y2, …) that suffice, the first one again at the end.

    No point that is left out is farther from the new outline than `share` of its length, and LEAST_TOLERANCE at least.
    An outline with an area keeps three points, however small it is.
    """
    points: Points = np.asarray(flat, dtype=np.float64).reshape(-1, 2)
    ring: Points = np.vstack([points, points[:1]])
    length = float(np.abs(np.diff(ring, axis=0)).sum())
    tolerance = max(LEAST_TOLERANCE, share * length)
    opposite = int(((points - points[0]) ** 2).sum(axis=1).argmax())
    beside = int(_distances(points, points[0], points[opposite]).argmax())
    corners = sorted({0, opposite, beside, len(ring) - 1})
    kept = np.zeros(len(ring), dtype=bool)
    kept[corners] = True
    parts = list(pairwise(corners))
    while parts:
        first, last = parts.pop()
        between = ring[first + 1 : last]
        if not len(between):
            continue
        distances = _distances(between, ring[first], ring[last])
        farthest = int(distances.argmax())
        if distances[farthest] > tolerance:
            middle = first + 1 + farthest
            kept[middle] = True
            parts += [(first, middle), (middle, last)]
    return [[float(x), float(y)] for x, y in ring[kept]]


def _distances(points: Points, start: Points, end: Points) -> Points:
    """Return each point's distance from a segment."""
    along = end - start
    squared = float(along @ along)
    if not squared:
        return _lengths(points - start)
    shares = np.clip((points - start) @ along / squared, 0.0, 1.0)
    return _lengths(points - start - shares[:, None] * along)


def _lengths(vectors: Points) -> Points:
    lengths: Points = np.hypot(vectors[:, 0], vectors[:, 1])
    return lengths
