"""What the server is doing with the model, and what that admits. Pure.

unloaded ──► loading ──► loaded ──► draining ──► unloading ──► unloaded
   ▲            │           │                        │
   └────────────┴───────────┘ load aborted or        ▼
                              failed, worker died  failed  (the worker outlived SIGKILL)
"""

from datetime import datetime
from enum import StrEnum

from sam3_server.errors import NotEnoughMemoryError
from sam3_server.residency.hold import Hold

LONGEST_DELAY_SECONDS = 30


class State(StrEnum):
    """The states of `/health`."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    LOADED = "loaded"
    DRAINING = "draining"
    UNLOADING = "unloading"
    FAILED = "failed"


CLOSED = {
    State.DRAINING: "the model is being unloaded",
    State.UNLOADING: "the model is being unloaded",
    State.FAILED: "the model's process could not be ended; the pod must be restarted",
}


def refusal(state: State, hold: Hold | None) -> str | None:
    """Say why an inference request is refused; None admits it, and the model is then loaded for it if need be."""
    return CLOSED.get(state) if hold is None else lent_to(hold)


def unready(state: State, hold: Hold | None, error: str | None, when_loaded: bool) -> str | None:
    """Say why requests are not to be sent here: it failed, or it has no model and is to be ready only with it."""
    if state is State.FAILED:
        return error or "failed"
    if state is State.LOADED or not when_loaded:
        return None
    return f"the model is not loaded: {lent_to(hold) if hold else error or state.value}"


def lent_to(hold: Hold) -> str:
    """Say who has the GPU."""
    return f"the GPU is lent to {hold.terms.holder}"


def ends_within(hold: Hold, now: float, wall: datetime, seconds: float) -> bool:
    """Whether a hold is to be over in so many seconds: by its holder's eta, or because nobody renews it."""
    expected = (hold.terms.eta - wall).total_seconds() if hold.terms.eta else hold.expires_in(now)
    return min(expected, hold.expires_in(now)) < seconds


def require_memory(free_mib: int, need_mib: int) -> None:
    """Pass when a load finds the memory it needs.

    Raises:
        NotEnoughMemoryError: it does not.

    """
    if free_mib < need_mib:
        raise NotEnoughMemoryError(f"the model needs {need_mib} MiB of free GPU memory and {free_mib} MiB are free")


class Reload:
    """Whether the server is to load by itself, and when next. Times in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self._wanted = False
        self._failures = 0
        self._not_before = 0.0

    def want(self) -> None:
        """Let the server load by itself as soon as it may."""
        self._wanted, self._failures, self._not_before = True, 0, 0.0

    def drop(self) -> None:
        """It is loaded, or is to stay unloaded."""
        self._wanted = False

    def failed(self, now: float, patient: bool) -> None:
        """Wait before the next try: a second when memory is awaited (`patient`), up to 30 when something is broken."""
        self._failures = 0 if patient else self._failures + 1
        self._not_before = now + float(min(2**self._failures, LONGEST_DELAY_SECONDS))

    def due(self, now: float) -> bool:
        """Whether to try at `now`."""
        return self._wanted and now >= self._not_before
