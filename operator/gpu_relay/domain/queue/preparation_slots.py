"""Which jobs may be prepared now: a fixed number in each namespace, independent of other namespaces.

A preparation whose pod cannot be created or started takes no slot, while there are no more of them than slots. So a
namespace has at most twice as many preparing pods as slots, and delays no other namespace.
"""

from collections.abc import Container, Iterable
from datetime import datetime

from gpu_relay.domain.job import review
from gpu_relay.domain.job.preparation import is_under_way, pause
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.order import queue_key


def share_out(jobs: Iterable[Job], obstructed: Container[str], now: datetime, policy: Policy) -> dict[str, bool | None]:
    """Return by UID for each job without a preparing pod whether one may be created, in the queue's order.

    None is for a job that needs no slot now: one that is paused or waits for a review, or one of the `obstructed`.
    """
    shares: dict[str, bool | None] = {}
    by_namespace: dict[str, list[Job]] = {}
    for job in jobs:
        by_namespace.setdefault(job.key.namespace, []).append(job)
    for mine in by_namespace.values():
        free = policy.preparation_slots - _slots_taken(mine, policy)
        for job in sorted((job for job in mine if not is_under_way(job)), key=queue_key):
            if job.key.uid in obstructed or review.waits(job) or pause(job, now, policy) > 0:
                shares[job.key.uid] = None
                continue
            shares[job.key.uid] = free > 0
            free -= 1
    return shares


def _slots_taken(jobs: Iterable[Job], policy: Policy) -> int:
    records = [job.status.preparation for job in jobs if is_under_way(job) and not job.spec.suspend]
    failing = sum(record is not None and record.failing_since is not None for record in records)
    return len(records) - min(failing, policy.preparation_slots)
