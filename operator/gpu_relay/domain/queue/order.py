"""The order of the queue, and who is in it at all."""

from gpu_relay.api.words import TERMINAL_PHASES, Phase
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.queue.claim import Claim

NO_GPU_SUITS = "no GPU suits this job"


def queue_key(claim: Claim) -> tuple[int, str, str]:
    """Return the order of the queue: (1) higher priority, (2) older, (3) smaller UID, so no two are equal."""
    return (-claim.priority, claim.queued_since, claim.key.uid)


def wants_gpu(job: Job) -> bool:
    """True for a job that is neither finished, nor suspended, nor being deleted, nor at the end of a turn."""
    return not (job.deleting or job.spec.suspend or job.status.phase in TERMINAL_PHASES | {Phase.RELEASING})
