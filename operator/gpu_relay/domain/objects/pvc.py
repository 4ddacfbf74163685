"""PersistentVolumeClaims that a job names: whether they exist, and whether they have a volume."""

from dataclasses import dataclass

from gpu_relay.domain.objects.job import Job


@dataclass(frozen=True)
class Claim:
    """A PersistentVolumeClaim."""

    bound: bool
    """True once it has a volume. The first pod that uses an unbound PVC may choose the volume's node, for good."""


def claim_names(job: Job) -> tuple[str, ...]:
    """Return the names of the PVCs that the pods of a job mount, each once."""
    sources = (job.spec.dataset.persistent_volume_claim, job.spec.output.persistent_volume_claim)
    return tuple(dict.fromkeys(source.claim_name for source in sources if source is not None))


def missing_message(namespace: str, name: str) -> str:
    """Say that a PVC does not exist, and what to do."""
    return f"PersistentVolumeClaim {name} does not exist in namespace {namespace}: create it"
