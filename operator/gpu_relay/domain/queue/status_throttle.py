"""Which change of a waiting job's prospects is worth a write.

A queue moves with every turn. If each job were told each time, a queue of n jobs would cost n writes for every turn. So
a place is exact among the first ten; further back it is told anew when the job has come to a quarter of the place that
it was told. Who has only moved is told after the others, one job in a while, so that what a turn costs does not grow
with the queue.
"""

from dataclasses import replace
from typing import Any

from gpu_relay.api.v1alpha1 import YoloTrainingJobStatus
from gpu_relay.api.words import ConditionType, Phase, Reason
from gpu_relay.domain.objects.job import Grant, Job
from gpu_relay.domain.queue.placement import Placement

EXACT_PLACES = 10
_FRACTION = 4
_PROSPECTS = {"queue_position", "estimated_start_time", "conditions", "observed_generation"}
_UNTOLD: dict[str, Any] = YoloTrainingJobStatus().model_dump(include=_PROSPECTS)
MIN_UPDATE_INTERVAL = 1.0
"""Seconds between two jobs that are told of a change of place or estimate alone."""
AGAIN_AFTER = 10.0
"""Seconds for which a change of place or estimate alone is kept back after a job was told something."""


def needs_immediate_update(placement: Placement, start: str | None) -> bool:
    """True where a job's status says something else of why it waits, or nothing yet: it is told at once."""
    status = placement.job.status
    said = next((each for each in status.conditions if each.type == ConditionType.RECONCILING), None)
    if status.phase != Phase.QUEUED or status.observed_generation != placement.job.generation or said is None:
        return True
    if status.queue_position is None or said.reason != placement.reason:
        return True
    if start is not None and status.estimated_start_time is None:
        return True
    return placement.reason != Reason.WAITING_IN_QUEUE and said.message != placement.message


def is_same(live: Job, seen: Job) -> bool:
    """True where all that may differ between two readings of a waiting job is what it was told of its prospects."""
    return _untold(live) == _untold(seen)


def _untold(job: Job) -> Job:
    status = job.status.model_copy(update={**_UNTOLD, "phase": job.status.phase or Phase.QUEUED})
    return replace(job, resource_version="", grant=Grant(), status=status)


def position_error(placement: Placement) -> float:
    """Return by how much what a job was told of its place is wrong, as a factor; 1 where it is right."""
    near, far = sorted((placement.job.status.queue_position or placement.position, placement.position))
    return far / near


def needs_update(placement: Placement, start: str | None) -> bool:
    """True where place or estimate differ from what was told by enough to be told, though not at once."""
    told = placement.job.status.queue_position or placement.position
    near, far = sorted((told, placement.position))
    if near != far and (near <= EXACT_PLACES or near * _FRACTION <= far):
        return True
    return start is not None and start != placement.job.status.estimated_start_time
