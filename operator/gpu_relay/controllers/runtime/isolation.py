"""Work on many objects, one at a time: an error about one object ends the work on that object alone (law 8).

::

    for job in jobs:
        if isolation.defers(job.key.uid):
            continue
        with isolation.guard(job.key.uid, str(job.key)):
            ...  # may await; an error ends this block and nothing else
    return soonest(requeue_after, isolation.requeue_after())
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gpu_relay.clients.kube import KubeError
from gpu_relay.leaderelection.elector import LeadershipLostError, NotLeadingError
from gpu_relay.observability.metrics import PASS_ERRORS

logger = logging.getLogger(__name__)
_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 60.0
_FORGOTTEN_AFTER = 600.0
"""Seconds after which an object without a new try counts as gone."""


@dataclass(frozen=True)
class _Failure:
    count: int
    due: float
    """When the object may be tried again, on the clock of `Isolation`, in seconds."""


class Isolation:
    """Guards one kind of work. It remembers which objects failed, and defers each with an exponential back-off."""

    def __init__(self, kind: str, now: Callable[[], float] = time.monotonic) -> None:
        """`kind` is the value of the label `key` of `gpu_relay_pass_errors`; `now` returns seconds."""
        self._kind = kind
        self._now = now
        self._failures: dict[str, _Failure] = {}
        self._deferred: set[str] = set()
        """UIDs that failed or were deferred since `requeue_after` was last asked."""

    def defers(self, uid: str) -> bool:
        """Return True while the back-off of an object that failed lasts: leave it out of this pass."""
        failure = self._failures.get(uid)
        if failure is None or failure.due <= self._now():
            return False
        self._deferred.add(uid)
        return True

    @contextmanager
    def guard(self, uid: str, name: str) -> Iterator[None]:
        """Run the block as work on one object; log and count its error, and defer the object.

        Let cancellation and a lost leadership through. Let the API server's own unavailability through as well, after
        the object is deferred: the pass as a whole is then repeated, and an object that is its only cause is left out.
        """
        try:
            yield
        except (NotLeadingError, LeadershipLostError):
            raise
        except Exception as error:
            self._defer(uid, name)
            if isinstance(error, KubeError) and error.unavailable:
                raise
        else:
            self._failures.pop(uid, None)

    def requeue_after(self) -> float | None:
        """Return the seconds until the first object that this pass left out or failed on is due; None without any."""
        dues = [self._failures[uid].due for uid in self._deferred if uid in self._failures]
        self._deferred.clear()
        return max(0.0, min(dues) - self._now()) if dues else None

    def _defer(self, uid: str, name: str) -> None:
        """Record an error and the pause of its object."""
        now = self._now()
        before = self._failures.get(uid)
        count = before.count if before else 0
        pause = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2.0 ** min(count, 32))
        self._failures = {key: each for key, each in self._failures.items() if each.due + _FORGOTTEN_AFTER > now}
        self._failures[uid] = _Failure(count + 1, now + pause)
        self._deferred.add(uid)
        PASS_ERRORS.labels(self._kind).inc()
        logger.exception("%s: %s failed; only this object is retried in %.1f s", self._kind, name, pause)


def soonest(*waits: float | None) -> float | None:
    """Return the shortest of these waits in seconds; None where each is None."""
    return min((wait for wait in waits if wait is not None), default=None)
