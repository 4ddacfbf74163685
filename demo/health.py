"""Five polls a second of SAM3's `/health`, and what they saw.

Each poll is sent when it is due, whether or not earlier ones were answered, on a connection of its own: a stall of one
second is seen.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from devcluster.background import Background

PER_SECOND = 5
TIMEOUT_SECONDS = 5.0
"""A poll that has no answer by then has failed."""
_WORKERS = 2 * int(PER_SECOND * TIMEOUT_SECONDS)


@dataclass(frozen=True)
class Poll:
    """One poll: when it was sent (seconds since the epoch), how long the answer took, and what it said."""

    sent: float
    seconds: float
    loaded: bool | None = None
    problem: str = ""

    @property
    def answered(self) -> bool:
        """Say whether a 200 with a sound body came."""
        return not self.problem


@dataclass(frozen=True)
class Summary:
    """Many polls in a few figures."""

    polls: int
    failures: tuple[Poll, ...]
    slowest: float
    loaded: int
    """Polls whose answer said `model_loaded: true`."""
    unloaded: int


def summary(polls: Iterable[Poll]) -> Summary:
    """Count polls."""
    seen = list(polls)
    answered = [poll for poll in seen if poll.answered]
    return Summary(
        polls=len(seen),
        failures=tuple(poll for poll in seen if not poll.answered),
        slowest=max((poll.seconds for poll in answered), default=0.0),
        loaded=sum(poll.loaded is True for poll in answered),
        unloaded=sum(poll.loaded is False for poll in answered),
    )


def between(polls: Iterable[Poll], start: float, end: float) -> list[Poll]:
    """Return the polls that were sent at or after `start` and answered by `end`, both in seconds since the epoch."""
    return [poll for poll in polls if start <= poll.sent and poll.sent + poll.seconds <= end]


def changes(polls: Iterable[Poll]) -> list[Poll]:
    """Return the first answered poll, and each whose `model_loaded` differs from the one before it."""
    found: list[Poll] = []
    for poll in sorted(polls, key=lambda poll: poll.sent):
        if poll.answered and (not found or poll.loaded != found[-1].loaded):
            found.append(poll)
    return found


class HealthPoller(Background):
    """Polls from `with` to its end, in threads of its own."""

    def __init__(self, base_url: str, per_second: float = PER_SECOND, timeout: float = TIMEOUT_SECONDS) -> None:
        super().__init__()
        self._url = f"{base_url}/health"
        self._interval = 1 / per_second
        self._timeout = timeout
        self._polls: list[Poll] = []

    def polls(self) -> list[Poll]:
        """Return every poll that was answered or has failed by now."""
        return list(self._polls)

    def _run(self) -> None:
        limits = httpx.Limits(max_keepalive_connections=0)
        with (
            httpx.Client(trust_env=False, timeout=self._timeout, limits=limits) as client,
            ThreadPoolExecutor(_WORKERS, "health-poll") as workers,
        ):
            due = time.monotonic()
            while not self._over.wait(max(0.0, due - time.monotonic())):
                workers.submit(lambda: self._polls.append(poll_once(client.get, self._url)))
                due += self._interval


def poll_once(get: Callable[[str], httpx.Response], url: str) -> Poll:
    """Send one poll and judge its answer."""
    sent, started = time.time(), time.monotonic()
    loaded, problem = None, ""
    try:
        answer = get(url)
        loaded, problem = _judge(answer)
    except httpx.HTTPError as error:
        problem = f"{type(error).__name__}: {error}"
    return Poll(sent, time.monotonic() - started, loaded, problem)


def _judge(answer: httpx.Response) -> tuple[bool | None, str]:
    if answer.status_code != 200:
        return None, f"status {answer.status_code}"
    try:
        body = answer.json()
    except ValueError:
        return None, "the answer is no JSON"
    if not isinstance(body, dict) or body.get("status") != "ok" or not isinstance(body.get("model_loaded"), bool):
        return None, f"the answer makes no sense: {answer.text[:200]}"
    return body["model_loaded"], ""
