"""From a mask's pixels to rings along the pixels' edges, which enclose exactly those pixels.

A ring turns at corners of pixels, so it covers whole pixels, as COCO's polygons do: pycocotools draws the same mask
from it. (OpenCV's contours run through the middles of pixels, and lose a row and a column.)

Points are numbered: edge number e runs along a row from point 2e to point 2e + 1, with the mask on its right hand.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Outline:
    """The rings around a mask: x and y of every point, and the points of each ring in their order.

    Outer rings run clockwise as seen, holes the other way round. `joints` has for each ring a point of another ring and
    a near one of its own, in such a way that each ring leads to the first one; a hole's joint is to its own part.
    """

    points: Points
    rings: list[list[int]]
    areas: list[int]
    joints: list[tuple[int, int] | None]

    def parts(self) -> list[Points]:
        """Return a closed ring for each part, connected by edges or corners: the part with most pixels first.

        Holes are joined to their part's outer ring.
        """
        part_of = self._part_of()
        members: dict[int, list[int]] = {}
        for ring, part in enumerate(part_of):
            members.setdefault(part, []).append(ring)
        pixels = {part: sum(self.areas[ring] for ring in rings) for part, rings in members.items()}
        largest_first = sorted(members, key=lambda part: -pixels[part])
        return [self._joined(part, [ring for ring in members[part] if ring != part]) for part in largest_first]

    def whole(self) -> Points:
        """Return one closed ring for all of the mask."""
        first = self.joints.index(None)
        return self._joined(first, [ring for ring in range(len(self.rings)) if ring != first])

    def _part_of(self) -> list[int]:
        """Return for each ring the outer ring of its part."""
        ring_of = self._ring_of()
        parts = list(range(len(self.rings)))
        for ring in range(len(self.rings)):
            chain = [ring]
            while self.areas[chain[-1]] < 0 and parts[chain[-1]] == chain[-1]:
                joint = self.joints[chain[-1]]
                assert joint is not None, "only an outer ring has no joint"
                chain.append(ring_of[joint[0]])
            for each in chain:
                parts[each] = parts[chain[-1]]
        return parts

    def _ring_of(self) -> list[int]:
        ring_of = np.empty(len(self.points), np.int64)
        for ring, points in enumerate(self.rings):
            ring_of[points] = ring
        return ring_of.tolist()

    def _joined(self, first: int, others: list[int]) -> Points:
        """Walk along the first ring; where another one is joined, walk there, around it, and back over the same line.

        Such a line has no area, and what is enclosed an even number of times is outside.
        """
        reached: dict[int, list[tuple[int, int]]] = {}
        for ring in others:
            joint = self.joints[ring]
            assert joint is not None, "there is one ring without a joint, the first of all"
            reached.setdefault(joint[0], []).append((ring, joint[1]))
        walked: list[int] = []
        ahead = self.rings[first][::-1]
        while ahead:
            point = ahead.pop()
            walked.append(point)
            for ring, entry in reached.pop(point, []):
                points = self.rings[ring]
                at = points.index(entry)
                ahead += [point, entry, *points[:at][::-1], *points[at:][::-1]]
        return self.points[walked]


def trace(bits: Bits) -> Outline | None:
    """Return the outline of a mask of shape (height, width); None if no pixel is set."""
    tails, heads, backwards = _edges(bits)
    if not len(tails):
        return None
    points = np.stack((tails, heads), axis=1).reshape(-1, 2)
    upper, lower = _sides(points, np.repeat(backwards, 2))
    rings = _rings(upper, lower)
    return Outline(points, rings, [_area(points[ring]) for ring in rings], _joints(points, rings, upper, lower))


def _edges(bits: Bits) -> tuple[Points, Points, npt.NDArray[np.bool_]]:
    """Return where the edges along rows begin and end, and which of them run to the left, under the mask."""
    height, width = bits.shape
    below = height + 1
    pixels = np.zeros(1 + width * below, np.uint8)
    pixels[1:].reshape(width, below)[:, :height] = bits.T  # each column ends with a pixel that is not set
    steps = np.flatnonzero(pixels[1:] != pixels[:-1])  # from unset to set and back, in turn
    ends = []
    for each in (steps[0::2], steps[1::2]):  # pixels that begin, pixels that end; those of neighbours form one edge
        begins = np.setdiff1d(each, each + below, assume_unique=True)
        stops = np.setdiff1d(each + below, each, assume_unique=True)
        ends.append([_in_rows(keys, below) for keys in (begins, stops)])
    (top_left, top_right), (bottom_left, bottom_right) = ends
    tails = np.concatenate((top_left, bottom_right))
    heads = np.concatenate((top_right, bottom_left))
    return tails, heads, np.arange(len(tails)) >= len(top_left)


def _in_rows(keys: Points, below: int) -> Points:
    points = np.stack(np.divmod(keys, below), axis=1)
    return points[np.lexsort((points[:, 0], points[:, 1]))]


def _sides(points: Points, backwards: npt.NDArray[np.bool_]) -> tuple[Points, Points]:
    """Return the upper and the lower point of each edge along a column: of those in a column, two by two.

    Where pixels touch by a corner alone, two edges end in one place. This order makes one part of them.
    """
    order = np.lexsort((backwards, points[:, 1], points[:, 0]))
    return order[0::2], order[1::2]


def _rings(upper: Points, lower: Points) -> list[list[int]]:
    across = np.empty(2 * len(upper), np.int64)
    across[upper], across[lower] = lower, upper
    follows = across.tolist()
    rings, seen = [], [False] * len(upper)
    for start in range(len(upper)):
        ring, edge = [], start
        while not seen[edge]:
            seen[edge] = True
            ring += [2 * edge, 2 * edge + 1]
            edge = follows[2 * edge + 1] // 2
        if ring:
            rings.append(ring)
    return rings


def _area(ring: Points) -> int:
    """Return the pixels within a ring, negative for a hole."""
    x, y = ring.T
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) // 2


def _joints(points: Points, rings: list[list[int]], upper: Points, lower: Points) -> list[tuple[int, int] | None]:
    """Join each ring to the one that is met first when going left from its leftmost point.

    That one reaches further left, so there is no circle. Those that meet none are joined to the one above.
    """
    leftmost = np.array([min(ring, key=lambda point: (points[point, 0], points[point, 1])) for ring in rings])
    top, bottom = points[upper, 1], points[lower, 1]
    sides = np.repeat(np.arange(len(upper)), bottom - top)
    rows = np.arange(len(sides)) - np.repeat(np.cumsum(bottom - top) - (bottom - top), bottom - top) + top[sides]
    line = int(points[:, 0].max()) + 1
    keys = rows * line + points[upper, 0][sides]
    order = keys.argsort()
    x, y = points[leftmost].T
    met = order[keys[order].searchsorted(y * line + x) - 1]
    side = sides[met]
    is_met = (rows[met] == y) & (points[upper, 0][side] < x)
    there = np.where(abs(top[side] - y) <= abs(bottom[side] - y), upper[side], lower[side])
    joints: list[tuple[int, int] | None] = list(zip(there.tolist(), leftmost.tolist(), strict=True))
    alone = sorted(np.flatnonzero(~is_met).tolist(), key=lambda ring: int(y[ring]))
    for above, ring in zip([None, *alone], alone, strict=False):
        joints[ring] = None if above is None else (_nearest(points, rings[above], leftmost[ring]), int(leftmost[ring]))
    return joints


def _nearest(points: Points, ring: list[int], to: int) -> int:
    """Return the ring's point that is nearest to a point."""
    return ring[int(((points[ring] - points[to]) ** 2).sum(axis=1).argmin())]
