"""What is lost when a job is deleted."""

from collections.abc import Iterator

from gpu_relay.api.words import TERMINAL_PHASES, Phase
from gpu_relay.domain.objects.job import Job


def results_at(job: Job) -> str:
    """Return where the results of a job are: `on PVC results`, or `at s3://…` if they are on no PVC."""
    pvc = job.spec.output.persistent_volume_claim
    return f"on PVC {pvc.claim_name}" if pvc else f"at {job.spec.output.uri}"


def losses(job: Job) -> Iterator[str]:
    """Yield what is lost with a job, and what stays."""
    where = results_at(job)
    progress = job.status.progress
    epochs = f" after {progress.summary} epochs" if progress and progress.summary else ""
    if job.status.phase in TERMINAL_PHASES:
        ended = str(job.status.phase).lower()
        yield f"{job.key} has {ended}{epochs}: the job record is deleted; its results stay {where}."
        return
    if job.status.phase == Phase.TRAINING:
        yield f"{job.key} {'trains' if job.spec.trains else 'has a GPU'}: it is stopped{epochs}."
    yield f"What it has written stays {where}; a new job begins from the start. `suspend` stops it until `resume`."
