"""When to load without a request: after a hold expired, a load failed or a preloaded worker exited. Pure."""

MAX_DELAY_SECONDS = 30


class ReloadSchedule:
    """Whether the server is to load without a request, and when next. Times in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self._requested = False
        self._failures = 0
        self._not_before = 0.0

    def request(self) -> None:
        """Load as soon as it is permitted."""
        self._requested, self._failures, self._not_before = True, 0, 0.0

    def cancel(self) -> None:
        """Do not load: the model is loaded, or is to stay unloaded."""
        self._requested = False

    def record_failure(self, now: float, waits_for_memory: bool) -> None:
        """Delay the next attempt: by 1 s while it waits for memory, by up to 30 s after repeated other failures."""
        self._failures = 0 if waits_for_memory else self._failures + 1
        self._not_before = now + float(min(2**self._failures, MAX_DELAY_SECONDS))

    def due(self, now: float) -> bool:
        """Whether to load at `now`."""
        return self._requested and now >= self._not_before
