"""What the server is doing with the model, and what that admits. Pure.

unloaded ──► loading ──► loaded ──► draining ──► unloading ──► unloaded
   ▲            │           │                        │
   └────────────┴───────────┘ load aborted or        ▼
                              failed, worker died  failed  (the engine kept the GPU)
"""

from datetime import datetime
from enum import StrEnum

from residency.hold import Hold


class State(StrEnum):
    """The states of `/health`."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    LOADED = "loaded"
    DRAINING = "draining"
    UNLOADING = "unloading"
    FAILED = "failed"


SERVING = frozenset({State.LOADED, State.DRAINING})
"""The states in which the model answers."""
CLOSED = {
    State.DRAINING: "the model is being unloaded",
    State.UNLOADING: "the model is being unloaded",
    State.FAILED: "the model could not be unloaded; the pod may have to be restarted",
}


def refusal_reason(state: State, hold: Hold | None) -> str | None:
    """Return why an inference request is refused; None admits it, and the model is loaded for it if necessary."""
    return CLOSED.get(state) if hold is None else lent_to(hold)


def unready_reason(state: State, hold: Hold | None, error: str | None, when_loaded: bool) -> str | None:
    """Return why requests are not to be sent here; None when ready. With `when_loaded` only a loaded model is ready."""
    if state is State.FAILED:
        return error or "failed"
    if state is State.LOADED or not when_loaded:
        return None
    return f"the model is not loaded: {lent_to(hold) if hold else error or state.value}"


def lent_to(hold: Hold) -> str:
    """Return the sentence that names the holder."""
    return f"the GPU is lent to {hold.terms.holder}"


def ends_within(hold: Hold, now: float, wall: datetime, seconds: float) -> bool:
    """Whether a hold ends in so many seconds: by its holder's eta, or because it is not renewed."""
    expected = (hold.terms.eta - wall).total_seconds() if hold.terms.eta else hold.expires_in(now)
    return min(expected, hold.expires_in(now)) < seconds
