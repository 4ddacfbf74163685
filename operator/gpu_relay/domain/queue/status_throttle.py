"""Which change in the queue is worth a write of a waiting job's status.

A queue moves with every turn. If each move were written, a queue of n jobs would cost n writes for every turn. So the
position is exact for the first ten jobs. Behind them, it is written when it has fallen to a quarter of the published
one. Jobs that have only moved follow the others, one at a time, so the cost of a turn does not grow with the queue.
"""

from dataclasses import replace
from typing import Any

from gpu_relay.api.v1alpha1 import YoloTrainingJobStatus
from gpu_relay.api.words import ConditionType, Phase, Reason
from gpu_relay.domain.objects.demand import Grant
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.queue.placement import Placement

EXACT_PLACES = 10
_FRACTION = 4
_PROSPECTS = {"queue_position", "estimated_start_time", "conditions", "observed_generation"}
_WITHOUT_PROSPECTS: dict[str, Any] = YoloTrainingJobStatus().model_dump(include=_PROSPECTS)
MIN_UPDATE_INTERVAL = 1.0
"""Seconds between two writes that change only a position or an estimate."""
AGAIN_AFTER = 10.0
"""Seconds after the last write for which a change of only the position or estimate of a job waits."""


def needs_immediate_update(placement: Placement, start: str | None) -> bool:
    """True if a job's status does not show why it waits: it is written immediately."""
    status = placement.job.status
    published = next((each for each in status.conditions if each.type == ConditionType.RECONCILING), None)
    if status.phase != Phase.QUEUED or status.observed_generation != placement.job.generation or published is None:
        return True
    if status.queue_position is None or published.reason != placement.reason:
        return True
    if start is not None and status.estimated_start_time is None:
        return True
    return placement.reason != Reason.WAITING_IN_QUEUE and published.message != placement.message


def is_same(live: Job, seen: Job) -> bool:
    """True if two versions of a waiting job differ at most in its position, estimate and conditions."""
    return _without_prospects(live) == _without_prospects(seen)


def _without_prospects(job: Job) -> Job:
    status = job.status.model_copy(update={**_WITHOUT_PROSPECTS, "phase": job.status.phase or Phase.QUEUED})
    return replace(job, resource_version="", grant=Grant(), status=status)


def position_error(placement: Placement) -> float:
    """Return the factor by which the published position of a job is wrong; 1 if it is right."""
    near, far = sorted((placement.job.status.queue_position or placement.position, placement.position))
    return far / near


def needs_update(placement: Placement, start: str | None) -> bool:
    """True if the position or estimate differs by enough from the published one, but can wait."""
    published = placement.job.status.queue_position or placement.position
    near, far = sorted((published, placement.position))
    if near != far and (near <= EXACT_PLACES or near * _FRACTION <= far):
        return True
    return start is not None and start != placement.job.status.estimated_start_time
