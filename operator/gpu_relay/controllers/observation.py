"""What a reconcile of a GPU reads live besides its Lease: the pods on it, its job, the reports of its residents."""

import asyncio
from dataclasses import dataclass

from gpu_relay.api.words import UNMANAGED_GPU
from gpu_relay.controllers.turn_actions import Effects
from gpu_relay.domain.objects.job import Job, UnreadableJobError
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.objects.resident import Resident


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


async def survey(effects: Effects, lease: GpuLease) -> Observation:
    """Read the objects that a Lease concerns and ask the residents, all in parallel. Raises KubeError."""
    pods, (job, unreadable), readings = await asyncio.gather(
        effects.pods.on_gpu(lease), _job(effects, concerned(lease)), ask_residents(effects, lease)
    )
    return Observation(pods, job, readings, unreadable)


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
