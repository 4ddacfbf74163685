"""The model's current state, with the lock under which loads and unloads change it."""

import asyncio
import logging
from collections.abc import Callable

from residency.state import SERVING, State

log = logging.getLogger(__name__)


class ModelState:
    """The state that `/health` reports. `error` explains why the model is not loaded; None if nothing failed.

    Every load and every unload holds `transition`, so one runs at a time.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` is a monotonic clock, in seconds."""
        self._now = now
        self._served = 0.0
        self._entered_at = now()
        self.current = State.UNLOADED
        self.error: str | None = None
        self.transition = asyncio.Lock()

    @property
    def loaded(self) -> bool:
        """Whether the model is on the device and answers."""
        return self.current is State.LOADED

    @property
    def serving_seconds(self) -> float:
        """Seconds in which the model answered, since the server's start."""
        return self._served + (self._now() - self._entered_at if self.current in SERVING else 0.0)

    @property
    def seconds_in_state(self) -> float:
        """Seconds since the current state was entered."""
        return self._now() - self._entered_at

    def enter(self, state: State) -> None:
        """Change the state, and log the change."""
        if state is not self.current:
            log.info("state %s", state.value, extra={"was": self.current.value})
            self._served, self._entered_at = self.serving_seconds, self._now()
            self.current = state
