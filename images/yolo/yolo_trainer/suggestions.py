# SPDX-License-Identifier: AGPL-3.0-only
"""Suggests the known name that an unknown one resembles."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

MOST = 3


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return `, did you mean 'x'?` for a word that resembles a known one, or several equally; else nothing.

    A known word with the same letters in another order is the nearest: `model` for `modle`, and not `mode`.
    """
    candidates = list(known)
    swapped = [candidate for candidate in candidates if sorted(candidate) == sorted(word)]
    close = get_close_matches(word, swapped or candidates, n=MOST)
    likeness = [SequenceMatcher(None, candidate, word).ratio() for candidate in close]
    nearest = sorted(candidate for candidate, ratio in zip(close, likeness, strict=True) if ratio == likeness[0])
    return f", did you mean {' or '.join(repr(candidate) for candidate in nearest)}?" if nearest else ""
