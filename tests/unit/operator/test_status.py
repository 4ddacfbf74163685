"""A job's status and its conditions."""

from dataclasses import replace
from datetime import timedelta

from gpu_relay.api.words import ConditionType, Reason
from gpu_relay.domain.job import status
from tests.support.builders import NOW, job


def test_a_transition_time_is_kept_while_the_status_stays() -> None:
    first = status.queued(job(), NOW, 2, None, Reason.WAITING_IN_QUEUE, "number 2")
    later = status.queued(
        replace(job(), status=first), NOW + timedelta(hours=1), 1, None, Reason.WAITING_IN_QUEUE, "number 1"
    )
    before, after = (next(c for c in s.conditions if c.type == ConditionType.RECONCILING) for s in (first, later))
    assert after.message == "number 1"
    assert after.last_transition_time == before.last_transition_time
