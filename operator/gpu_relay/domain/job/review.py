"""The review of labels: between its labelling and its training, a job may wait for a person's approval.

The preparing pod that labels ends, and says so, since its job file has no approval. The record of the preparation then
has the reason WaitingForReview until the next pod, whose job file has the approval, has taken what people corrected.
"""

from gpu_relay.api.v1alpha1 import Labelling
from gpu_relay.api.words import Reason
from gpu_relay.domain.job.attempts import OUTPUT_MOUNT
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.pod import Termination
from gpu_relay.domain.untrusted import counts

_FOLDER = "labelled"
"""In the job's output."""


def is_required(job: Job) -> bool:
    """True for a job whose labels a person has to approve."""
    return _label(job) is not None


def is_approved(job: Job) -> bool:
    """True for a job whose labels are approved."""
    label = _label(job)
    return label is not None and label.approved


def waits(job: Job) -> bool:
    """True for a job whose labels are made, and not approved."""
    record = job.status.preparation
    made = record is not None and record.reason == Reason.WAITING_FOR_REVIEW
    return made and is_required(job) and not is_approved(job)


def must_wait(job: Job, termination: Termination) -> bool:
    """True if a preparing pod has ended with labels that no approval covers.

    A pod that began before the approval has not taken corrections, and reports its labels for review.
    """
    return is_required(job) and (not is_approved(job) or "review" in termination.last_word)


def message(job: Job, termination: Termination) -> str:
    """Return where the labels are, how many there are, and how the job continues."""
    found = counts(termination.last_word.get("review"))
    figures = ""
    if {"labels", "doubtful"} <= found.keys():
        figures = f"{found['labels']} labels, {found['doubtful']} to review: "
    claim = job.spec.output.persistent_volume_claim
    volume = f"PVC {claim.claim_name}" if claim is not None else OUTPUT_MOUNT
    folder = f"{job.spec.output.path or job.key.name}/{_FOLDER}"
    return (
        f"{figures}see review.csv and sheets/ in folder {folder} of {volume}, and correct what is wrong. Then run "
        f"`kubectl relay -n {job.key.namespace} approve {job.key.name}`, or set spec.dataset.label.approved to true"
    )


def _label(job: Job) -> Labelling | None:
    label = job.spec.dataset.label
    return label if label is not None and label.review == "Required" else None
