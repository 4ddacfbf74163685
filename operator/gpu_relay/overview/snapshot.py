"""What could be read of a cluster, and sentences on what could not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gpu_relay.domain.objects.event import JobEvent
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.leader import LeaderRecord
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.listed_workload import ListedWorkload
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.objects.represented import Represented
from gpu_relay.domain.objects.resident import Resident


@dataclass(frozen=True)
class ClusterSnapshot:
    """The objects as they were read. None stands for what could not be read."""

    now: datetime
    """By the API server's clock, in the reader's time zone."""
    jobs: tuple[Job, ...] = ()
    everywhere: bool = True
    """True where the jobs of all namespaces are among `jobs`."""
    workloads: tuple[ListedWorkload, ...] = ()
    """Those that have the operator's check; none without Kueue, or where they may not be read."""
    all_workloads: bool = True
    """True where the Workloads of all namespaces are among `workloads`."""
    leases: Mapping[str, GpuLease] | None = None
    """By GPU."""
    leader: LeaderRecord | None = None
    residents: tuple[Resident, ...] | None = None
    """With their reports, where they answered."""
    node_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of the nodes that were read, by name."""
    events: tuple[JobEvent, ...] | None = None
    unknown: tuple[str, ...] = field(default=())
    """What could not be read, and which right it takes."""

    def job(self, key: JobKey) -> Job | None:
        """Return a job, None where it has been deleted or may not be read."""
        return next((job for job in self.jobs if job.key == key), None)

    def workload(self, key: JobKey) -> ListedWorkload | None:
        """Return a Workload, None where it has been deleted or may not be read."""
        return next((each for each in self.workloads if each.key == key), None)

    def represented(self, key: JobKey) -> Represented | None:
        """Return the object that a Workload represents; None for a job, and where that is unknown."""
        listed = self.workload(key) if key.is_workload else None
        if listed is not None:
            return listed.represents
        events = (event for event in self.events or () if event.key == key and event.represents is not None)
        return next((event.represents for event in events), None) if key.is_workload else None
