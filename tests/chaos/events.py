"""The events of a cluster that a run may meet: by name, what takes place, and what it needs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from tests.chaos import gpu_events, job_events, pod_events, workload_events
from tests.chaos.stage import Stage

Act = Callable[[Stage, Random], Awaitable[None]]


@dataclass(frozen=True)
class Event:
    """What takes place, and what the scenario must have for it."""

    act: Act
    gpus: int = 1
    """The fewest GPUs: a second one where the law is that the good one is taken."""
    preparations: int = 0


EVENTS: dict[str, Event] = {
    "node replaced": Event(gpu_events.node_replaced),
    "GPU's UUID changed": Event(gpu_events.uuid_changed),
    "resident rolled out": Event(gpu_events.resident_rolled_out),
    "resident surges": Event(gpu_events.resident_surges),
    "resident hangs": Event(gpu_events.resident_hangs, gpus=2),
    "node cordoned": Event(gpu_events.node_cordoned, gpus=2),
    "node tainted": Event(gpu_events.node_tainted, gpus=2),
    "no share free": Event(gpu_events.no_share_free, gpus=2),
    "memory in use": Event(gpu_events.memory_in_use, gpus=2),
    "memory taken at an unload": Event(gpu_events.memory_taken, gpus=2),
    "node unreadable": Event(gpu_events.node_unreadable, gpus=2),
    "sidecar crashes": Event(pod_events.sidecar_crashes),
    "sidecar outlives the trainer": Event(pod_events.sidecar_outlives),
    "webhook down": Event(pod_events.webhook_down),
    "quota full": Event(pod_events.quota_full),
    "labels tampered": Event(pod_events.labels_tampered),
    "spec unreadable": Event(job_events.spec_unreadable),
    "status unreadable": Event(job_events.status_unreadable),
    "phase unknown": Event(job_events.phase_unknown),
    "reason unknown": Event(job_events.reason_unknown),
    "same name again": Event(job_events.same_name_again),
    "preparations hang": Event(job_events.preparations_hang, preparations=2),
    "PVCs missing": Event(job_events.claims_missing, preparations=2),
}
WORKLOAD_EVENTS: dict[str, Event] = {
    "Job deleted": Event(workload_events.job_deleted),
    "Job suspended by its user": Event(workload_events.job_suspended),
    "pod of a Job deleted": Event(workload_events.pod_deleted),
    "Workload deactivated": Event(workload_events.workload_deactivated),
    "Workload deleted": Event(workload_events.workload_deleted),
    "Workload evicted by hand": Event(workload_events.workload_evicted),
    "quota withdrawn by hand": Event(workload_events.quota_withdrawn),
    "ClusterQueue drained": Event(workload_events.cluster_queue_drained),
}
"""What happens to plain Jobs in Kueue, in the runs that have any."""
ALL_EVENTS = EVENTS | WORKLOAD_EVENTS
