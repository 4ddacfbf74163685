"""The record of a job's attempts, limited to a size that the API server accepts."""

from collections.abc import Sequence

from gpu_relay.api.v1alpha1 import Attempt
from gpu_relay.api.words import COST_FREE_REASONS, REFUSED_REASONS, YIELDED_REASONS
from gpu_relay.domain.policy import Policy

_IN_FULL = 20
_REMEMBERED = 100
_SHORT_MESSAGE = 128


def remembered(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Shorten the messages of all but the newest attempts; remove old ones that cost nothing."""
    old, newest = attempts[:-_IN_FULL], attempts[-_IN_FULL:]
    kept = [attempt for attempt in old if attempt.reason not in COST_FREE_REASONS]
    interrupted = [attempt for attempt in old if attempt.reason in COST_FREE_REASONS][-_REMEMBERED:]
    history = sorted((*kept, *interrupted), key=lambda attempt: attempt.number)
    return [*map(_shortened, history), *newest]


def _shortened(attempt: Attempt) -> Attempt:
    return attempt.model_copy(update={"message": attempt.message[:_SHORT_MESSAGE]})


def fruitless_in_a_row(attempts: Sequence[Attempt]) -> int:
    """Count the newest attempts in a row that cost nothing and finished no further epoch, and did not yield."""
    count = 0
    for place in range(len(attempts) - 1, -1, -1):
        attempt, before = attempts[place], attempts[place - 1] if place else None
        fruitless = attempt.reason in COST_FREE_REASONS - YIELDED_REASONS
        if not fruitless or (attempt.epoch or 0) > (before.epoch or 0 if before else 0):
            break
        count += 1
    return count


def refused_in_a_row(attempts: Sequence[Attempt]) -> int:
    """Count the newest attempts in a row whose pod was refused by its node, or refused its GPU."""
    count = 0
    for attempt in reversed(attempts):
        if attempt.reason not in REFUSED_REASONS:
            break
        count += 1
    return count


def delay_after(failures: int, policy: Policy) -> float:
    """Return the pause in seconds: the base after the first failure, doubled with each further one, up to the cap."""
    return float(min(policy.backoff_cap, policy.backoff_base * 2 ** min(32, max(0, failures - 1))))
