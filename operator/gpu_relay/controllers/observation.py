"""What a reconcile of a GPU reads live besides its Lease: the pods on it, its job, the reports of its residents."""

import asyncio
from dataclasses import dataclass

from gpu_relay.api.words import LABEL_HOSTNAME, LABEL_PIN, UNMANAGED_GPU
from gpu_relay.controllers.turn_actions import Effects
from gpu_relay.domain.objects.checked_workload import CheckedWorkload
from gpu_relay.domain.objects.job import Job, UnreadableJobError
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.objects.resident import Resident

_NODE_AGE = 10.0
"""Seconds for which the labels of a node are not read again."""


@dataclass(frozen=True)
class ResidentReadings:
    """A GPU's residents as they have answered, the one that it goes back to first.

    `at` is when they were asked (monotonic, seconds): what they report is not older.
    """

    residents: tuple[Resident, ...] = ()
    at: float = 0.0

    @property
    def resident(self) -> Resident | None:
        """The resident that the GPU returns to; None if there is none."""
        return self.residents[0] if self.residents else None


@dataclass(frozen=True)
class Observation:
    """What was read live besides a Lease."""

    pods: tuple[TrainingPod, ...]
    job: Job | None
    readings: ResidentReadings
    unreadable: str = ""
    """Why the job exists and cannot be read."""
    workload: CheckedWorkload | None = None
    host: str = ""
    """The label `kubernetes.io/hostname` of the GPU's node, which a Workload's turn needs; empty if unknown."""
    node_label: str | None = None
    """The label `gpurelay.dev/pin` of that node; None if unknown."""
    owned_gpus: int = 1
    """How many Leases have the same owner, if that is a Workload with several GPUs."""


async def survey(effects: Effects, lease: GpuLease) -> Observation:
    """Read the objects that a Lease concerns and ask the residents, all in parallel. Raises KubeError."""
    owner = concerned(lease)
    if owner is not None and owner.is_workload:
        return await _survey_workload(effects, lease)
    pods, (job, unreadable), readings = await asyncio.gather(
        effects.pods.on_gpu(lease), _job(effects, owner), ask_residents(effects, lease)
    )
    return Observation(pods, job, readings, unreadable)


async def _survey_workload(effects: Effects, lease: GpuLease) -> Observation:
    """Read what the Lease of a Workload concerns; after its turn, the Workload itself concerns no one."""
    workload, host, label, owned = None, "", None, 1
    if lease.owner is not None:
        # Before the pods: a Workload that permits no further pod, and then no pod, means that none is left.
        workload, node = await asyncio.gather(
            effects.checks.get(lease.owner), effects.nodes.state(lease.node, _NODE_AGE)
        )
        if node is not None:
            host, label = node.labels.get(LABEL_HOSTNAME, ""), node.labels.get(LABEL_PIN, "")
        if workload is not None and workload.demand.total_gpus > 1:
            owned = sum(each.holder == lease.holder for each in await effects.leases.list())
    pods, readings = await asyncio.gather(effects.pods.on_gpu(lease), ask_residents(effects, lease))
    if pods and workload is not None and not _permits_pods(workload, lease) and lease.owner is not None:
        # And again after them: the turn of another of its GPUs may have set the check to Ready between the two reads.
        workload = await effects.checks.get(lease.owner)
    return Observation(pods, None, readings, workload=workload, host=host, node_label=label, owned_gpus=owned)


def _permits_pods(workload: CheckedWorkload, lease: GpuLease) -> bool:
    """Return whether the check was Ready for this turn."""
    return workload.entry is not None and workload.entry.pins(lease.gpu, lease.fence)


async def ask_residents(effects: Effects, lease: GpuLease) -> ResidentReadings:
    """Ask the residents of a GPU for reports; no answers where its Lease concerns no job, or no resident."""
    if lease.gpu == UNMANAGED_GPU or concerned(lease) is None:
        return ResidentReadings()
    asked = effects.clock.monotonic()
    return ResidentReadings(await effects.directory.on_gpu(lease), asked)


def concerned(lease: GpuLease) -> JobKey | None:
    """Return the job of a GPU's turn, or of its pending reload."""
    return lease.owner or JobKey.from_holder(lease.reload_pending)


async def _job(effects: Effects, owner: JobKey | None) -> tuple[Job | None, str]:
    """Read a turn's job; if it cannot be read, return why."""
    try:
        return (await effects.jobs.get(owner) if owner else None), ""
    except UnreadableJobError as error:
        return None, str(error)
