# SPDX-License-Identifier: AGPL-3.0-only
"""How certain each label is: by its score, and by whether the second pass found the same. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median

from yolo_trainer.labelling.findings import SAME, FoundObject, ImageFindings, ReviewedLabel, area, overlap

_MATCH = 0.5
"""Intersection over union from which two passes are taken to have found the same object."""
_NEAR = 0.2
"""From which an object of the second pass only is taken for a doubt about a label, and not for another object."""
_UNCONFIRMED = 0.3
"""Below this certainty are labels that the second pass did not find, and objects that only it found."""
_SMALLEST_EDGE = 4.0
"""Pixels."""
_LARGEST_SHARE = 0.95
"""Of the image."""
_ENOUGH = 20
"""Objects of a class from which unusual sizes are known."""
_DEVIATIONS = 4.0
_TO_SIGMA = 1.4826

SizeLimits = Mapping[int, tuple[float, float]]
"""The usual areas of each class, in shares of the image."""


def review(findings: Iterable[ImageFindings], classes: Sequence[str]) -> list[ReviewedLabel]:
    """Return all labels, and the objects that may lack one, the least certain first. Kept labels are not judged."""
    asked = [each for each in findings if not each.kept]
    limits = usual_sizes(asked)
    judged = [label for each in asked for label in _judged(each, limits, classes)]
    return sorted(judged, key=lambda label: (label.certainty, label.image))


def usual_sizes(findings: Iterable[ImageFindings]) -> SizeLimits:
    """Return the usual sizes of the classes that have enough objects: within four deviations of the median."""
    sizes: dict[int, list[float]] = {}
    for each in findings:
        for found in each.objects:
            sizes.setdefault(found.class_id, []).append(math.log(_share(found, each)))
    limits = {}
    for class_id, logs in sizes.items():
        if len(logs) < _ENOUGH:
            continue
        middle = median(logs)
        spread = max(_TO_SIGMA * median(abs(each - middle) for each in logs), 0.1) * _DEVIATIONS
        limits[class_id] = math.exp(middle - spread), math.exp(middle + spread)
    return limits


def _judged(findings: ImageFindings, limits: SizeLimits, classes: Sequence[str]) -> Iterator[ReviewedLabel]:
    partners = _partners(findings)
    unconfirmed = []
    for found in findings.objects:
        doubts = [*_size_doubts(found, findings, limits), *_class_doubts(found, findings, classes)]
        certainty = found.score
        if findings.second is not None:
            partner = partners.get(id(found))
            if partner is None:
                unconfirmed.append(found)
                certainty *= _UNCONFIRMED
                doubts.append(_unconfirmed_doubt(found, findings.second, classes))
            else:
                share = found.score * overlap(found.box, partner.box)
                certainty = _UNCONFIRMED + (1 - _UNCONFIRMED) * share
        if doubts:
            certainty /= 2
        yield ReviewedLabel(findings.image, found, certainty, tuple(doubts))
    yield from _missing(findings, partners, unconfirmed)


def _partners(findings: ImageFindings) -> dict[int, FoundObject]:
    """Return the object of the second pass for each that it confirms, by identity; the best overlaps first."""
    pairs = sorted(
        (
            (overlap(one.box, other.box), place, repeated)
            for place, one in enumerate(findings.objects)
            for repeated, other in enumerate(findings.second or ())
            if one.class_id == other.class_id
        ),
        reverse=True,
    )
    partners: dict[int, FoundObject] = {}
    taken = set()
    for shared, place, repeated in pairs:
        one = findings.objects[place]
        if shared >= _MATCH and id(one) not in partners and repeated not in taken:
            partners[id(one)] = (findings.second or ())[repeated]
            taken.add(repeated)
    return partners


def _missing(
    findings: ImageFindings, partners: Mapping[int, FoundObject], unconfirmed: Sequence[FoundObject]
) -> Iterator[ReviewedLabel]:
    confirmed = {id(partner) for partner in partners.values()}
    for other in findings.second or ():
        if id(other) in confirmed or any(overlap(other.box, one.box) > _NEAR for one in unconfirmed):
            continue
        certainty = _UNCONFIRMED * (1 - other.score)
        yield ReviewedLabel(findings.image, other, certainty, ("only the second pass found it",), missing=True)


def _unconfirmed_doubt(found: FoundObject, second: Sequence[FoundObject], classes: Sequence[str]) -> str:
    others = [other for other in second if overlap(found.box, other.box) > _NEAR]
    if not others:
        return "the second pass did not find it"
    nearest = max(others, key=lambda other: overlap(found.box, other.box))
    if nearest.class_id != found.class_id:
        return f"the second pass found {classes[nearest.class_id]} here"
    return "the second pass found it in another place"


def _size_doubts(found: FoundObject, findings: ImageFindings, limits: SizeLimits) -> Iterator[str]:
    x1, y1, x2, y2 = found.box
    share = _share(found, findings)
    smallest, largest = limits.get(found.class_id, (0.0, 1.0))
    if min(x2 - x1, y2 - y1) < _SMALLEST_EDGE:
        yield f"narrower than {_SMALLEST_EDGE:.0f} pixels"
    elif share > _LARGEST_SHARE:
        yield "as large as the image"
    elif not smallest <= share <= largest:
        yield "much smaller than usual" if share < smallest else "much larger than usual"


def _class_doubts(found: FoundObject, findings: ImageFindings, classes: Sequence[str]) -> Iterator[str]:
    for other in findings.objects:
        if other.class_id != found.class_id and overlap(found.box, other.box) >= SAME:
            yield f"also labelled {classes[other.class_id]}"


def _share(found: FoundObject, findings: ImageFindings) -> float:
    return max(area(found.box), 1e-3) / (findings.width * findings.height)
