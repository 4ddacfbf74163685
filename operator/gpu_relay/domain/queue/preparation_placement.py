"""Where a preparing pod may run, or why none can be created for a job now.

A PVC of a StorageClass with `volumeBindingMode: WaitForFirstConsumer` gets its volume on the node of the first pod that
uses it, permanently. So while a PVC is unbound, that pod must run on a node with a GPU that suits the job.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gpu_relay.api.words import Reason
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.pvc import Pvc, missing_message
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.candidate import Candidate, filter_reason


@dataclass(frozen=True)
class Place:
    """The nodes that a preparing pod prefers, or must run on one of."""

    nodes: tuple[str, ...] = ()
    required: bool = False
    label_server: str | None = None
    """URL of the resident that labels the job's images; None for a job with labels."""


@dataclass(frozen=True)
class Surroundings:
    """What is known of GPUs and of a job's PVCs."""

    gpus: Sequence[Candidate] = ()
    """The GPUs that residents have reported so far."""
    has_residents: bool = True
    """False if no resident has existed for a while."""
    all_reported: bool = True
    """False while a resident has not reported its GPU."""
    pvcs: Mapping[str, Pvc | None] = field(default_factory=dict)
    """The job's PVCs by name; None for one that does not exist."""


@dataclass(frozen=True)
class Obstacle:
    """Why no preparing pod is created for a job now. It costs the job only time."""

    reason: Reason
    message: str


def find_place(job: Job, seen: Surroundings, policy: Policy) -> Place | Obstacle:
    """Return where the preparing pod of a job may run, or what prevents its creation.

    An unknown GPU is an obstacle only if a PVC would be bound to some node before it is known, and no GPU at all only
    for a job whose images a resident must label.
    """
    for name, pvc in seen.pvcs.items():
        if pvc is None:
            return Obstacle(Reason.VOLUME_CLAIM_MISSING, missing_message(job.key.namespace, name))
    misfits = {each.gpu: filter_reason(job.demand, each, policy) for each in seen.gpus}
    suits = _nodes(each for each in seen.gpus if misfits[each.gpu] is None)
    if seen.gpus and not suits and seen.all_reported:
        sentences = dict.fromkeys(map(str, misfits.values()))
        return Obstacle(Reason.NO_GPU_FITS, f"no GPU suits this job: {'; '.join(sentences)}")
    server = _label_server(job, [each for each in seen.gpus if misfits[each.gpu] is None] or seen.gpus)
    if job.spec.dataset.label is not None and server is None:
        reason = Reason.RESIDENT_UNREACHABLE if seen.has_residents else Reason.RESIDENT_MISSING
        return Obstacle(reason, "no resident has reported its GPU, and one with SAM3 must label the images")
    unbound = [name for name, pvc in seen.pvcs.items() if pvc is not None and not pvc.bound]
    if not unbound:
        return Place(suits or _nodes(seen.gpus), label_server=server)
    if suits:
        return Place(suits, required=True, label_server=server)
    unbound_pvc = (
        f"PersistentVolumeClaim {unbound[0]} is unbound, and a preparing pod could bind it to a node without a GPU"
    )
    if seen.has_residents:
        return Obstacle(Reason.RESIDENT_UNREACHABLE, f"no resident has reported its GPU yet; {unbound_pvc}")
    return Obstacle(Reason.PREPARATION_SKIPPED, f"no node with a GPU is known, as there is no resident; {unbound_pvc}")


def _label_server(job: Job, gpus: Iterable[Candidate]) -> str | None:
    """Return the URL of a resident that labels a job's images, a loaded one if there is one; None if none is needed."""
    if job.spec.dataset.label is None:
        return None
    residents = [each.resident for each in gpus if each.resident is not None]
    loaded = [each for each in residents if each.report is not None and each.report.model_loaded]
    return next((each.url for each in (*loaded, *residents)), None)


def _nodes(gpus: Iterable[Candidate]) -> tuple[str, ...]:
    return tuple(sorted({each.resident.node for each in gpus if each.resident is not None and each.resident.node}))
