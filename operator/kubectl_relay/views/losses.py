"""What is lost when a job is deleted."""

from collections.abc import Iterator

from gpu_relay.api.words import TERMINAL_PHASES, Phase
from gpu_relay.domain.objects.job import Job


def losses(job: Job) -> Iterator[str]:
    """Say what ends with a job, and what stays."""
    claim = job.spec.output.persistent_volume_claim
    where = f"claim {claim.claim_name}" if claim else str(job.spec.output.uri)
    progress = job.status.progress
    epochs = f" after {progress.summary} epochs" if progress and progress.summary else ""
    if job.status.phase in TERMINAL_PHASES:
        yield f"{job.key} has {str(job.status.phase).lower()}{epochs}: its record goes, its results stay on {where}."
        return
    if job.status.phase == Phase.TRAINING:
        yield f"{job.key} {'trains' if job.spec.trains else 'has a GPU'}: it is stopped{epochs}."
    yield f"What it has written stays on {where}; a new job begins from the start. `suspend` would let it go on later."
