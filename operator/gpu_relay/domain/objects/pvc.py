"""The PVCs of a job: whether they exist, and whether they are bound to a volume."""

from dataclasses import dataclass

from gpu_relay.domain.objects.job import Job


@dataclass(frozen=True)
class Pvc:
    """A PersistentVolumeClaim."""

    bound: bool
    """True if it has a volume. The first pod that uses an unbound PVC may determine the volume's node."""


def claim_names(job: Job) -> tuple[str, ...]:
    """Return the names of the PVCs that the pods of a job mount, without duplicates."""
    sources = (job.spec.dataset.persistent_volume_claim, job.spec.output.persistent_volume_claim)
    return tuple(dict.fromkeys(source.claim_name for source in sources if source is not None))


def missing_message(namespace: str, name: str) -> str:
    """Return the message for a PVC that does not exist."""
    return f"PersistentVolumeClaim {name} does not exist in namespace {namespace}: create it"
