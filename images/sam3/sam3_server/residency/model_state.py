"""The model's current state, with the lock under which loads and unloads change it."""

import asyncio
import logging

from sam3_server.residency.state import State

log = logging.getLogger(__name__)


class ModelState:
    """The state that `/health` reports. `error` explains why the model is not loaded; None if nothing failed.

    Every load and every unload holds `transition`, so one runs at a time.
    """

    def __init__(self) -> None:
        self.current = State.UNLOADED
        self.error: str | None = None
        self.transition = asyncio.Lock()

    @property
    def loaded(self) -> bool:
        """Whether the model is on the device and answers."""
        return self.current is State.LOADED

    def enter(self, state: State) -> None:
        """Change the state, and log the change."""
        if state is not self.current:
            log.info("state %s", state.value, extra={"was": self.current.value})
            self.current = state
