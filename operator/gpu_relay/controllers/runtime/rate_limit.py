"""Limit how often passes over thousands of jobs run: they take time that handovers need."""

import time
from collections.abc import Awaitable, Callable

_SHARE = 0.25
"""Default share of the time that the passes of one kind may take."""


class RateLimit:
    """Pauses between two passes of one kind, for a multiple of the length of the last one."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._until: dict[str, float] = {}

    def rest(self, kind: str) -> float:
        """Return the seconds until the next pass of a kind."""
        return max(0.0, self._until.get(kind, 0.0) - self._monotonic())

    async def keep(self, kind: str, reconcile: Awaitable[float | None], share: float = _SHARE) -> float | None:
        """Run a pass; return the seconds until the next one, which is not before the end of the pause."""
        began = self._monotonic()
        try:
            requeue_after = await reconcile
        finally:
            self._until[kind] = began + (self._monotonic() - began) / share
        return None if requeue_after is None else max(requeue_after, self.rest(kind))
