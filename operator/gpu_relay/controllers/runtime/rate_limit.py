"""How often everything may be gone through: looks at thousands of jobs take time that hand-overs need."""

import time
from collections.abc import Awaitable, Callable

_SHARE = 0.25
"""Share of the time that looks of one kind may take, where nothing else is said."""


class RateLimit:
    """Rests between looks of one kind that are as long as the last one was, several times over."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._until: dict[str, float] = {}

    def rest(self, kind: str) -> float:
        """Return the seconds until the next look of a kind."""
        return max(0.0, self._until.get(kind, 0.0) - self._monotonic())

    async def keep(self, kind: str, reconcile: Awaitable[float | None], share: float = _SHARE) -> float | None:
        """Take a look, and return the seconds until it wants the next one, not before the rest is over."""
        began = self._monotonic()
        try:
            requeue_after = await reconcile
        finally:
            self._until[kind] = began + (self._monotonic() - began) / share
        return None if requeue_after is None else max(requeue_after, self.rest(kind))
