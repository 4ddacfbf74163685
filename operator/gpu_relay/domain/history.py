"""The record of a job's attempts, kept to a size that the API server has room for, however many they become."""

from collections.abc import Sequence

from gpu_relay.api.v1alpha1 import Attempt
from gpu_relay.api.words import COST_FREE_REASONS

_IN_FULL = 20
_REMEMBERED = 100
_SHORT_MESSAGE = 128


def remembered(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Shorten the messages of all but the newest attempts; forget old ones that neither count nor cost anything."""
    old, newest = attempts[:-_IN_FULL], attempts[-_IN_FULL:]
    kept = [attempt for attempt in old if attempt.reason not in COST_FREE_REASONS]
    interrupted = [attempt for attempt in old if attempt.reason in COST_FREE_REASONS][-_REMEMBERED:]
    told = sorted((*kept, *interrupted), key=lambda attempt: attempt.number)
    return [*map(_shortened, told), *newest]


def _shortened(attempt: Attempt) -> Attempt:
    return attempt.model_copy(update={"message": attempt.message[:_SHORT_MESSAGE]})
