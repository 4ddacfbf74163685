"""How long a request may work, and whether its client is still connected."""

import math
import time
from collections.abc import Callable

from sam3_server.worker.protocol import WorkerError

MOST_RUNS = 16_000_000
ADVICE = "send fewer prompts, a smaller image or a lower max_instances, or ask for boxes alone (format: box)"


class Allowance:
    """What one request may take. `check` is called between prompts and between masks; `prompts` counts those computed.

    `cancelled` returns whether the client has disconnected; `seconds` count from now.
    """

    def __init__(self, seconds: float, cancelled: Callable[[], bool]) -> None:
        self.prompts = 0
        self._runs = 0
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._cancelled = cancelled

    def check(self, progress: str) -> None:
        """Pass while the client waits and time is left; `progress` describes how much of the work is done.

        Raises:
            WorkerError: the client has disconnected, or the time has passed.

        """
        if self._cancelled():
            raise WorkerError("cancelled", "the client has disconnected")
        if time.monotonic() > self._deadline:
            raise WorkerError("work", f"the request takes more than {self._seconds:g} s ({progress}); {ADVICE}")

    def take(self, runs: int) -> None:
        """Count the runs of masks, on which the size of the answer depends.

        Raises:
            WorkerError: the masks of this request have too many.

        """
        self._runs += runs
        if self._runs > MOST_RUNS:
            message = f"the masks have more than {MOST_RUNS:,} edges, so the answer would be too large; {ADVICE}"
            raise WorkerError("work", message)

    def restart(self) -> None:
        """Count from zero again, within the same time: the request is computed once more."""
        self.prompts = self._runs = 0


def unlimited() -> Allowance:
    """Return the allowance of a request without a client, such as the probe."""
    return Allowance(math.inf, lambda: False)
