"""The answer of the operator's check to a Workload outside its turn; in a turn, `domain.turn.workload_turn` answers."""

import re
from dataclasses import dataclass

from gpu_relay.domain.decision import EvictWorkload, WithdrawReady
from gpu_relay.domain.objects.checked_workload import READY, CheckedWorkload

_FIGURES = re.compile(r"[0-9][0-9,.]* (MiB|s)\b|[0-9-]+T[0-9:]+Z")
_ADMITTED = "the operator measures the memory before it creates the training pod of this job"
_ENDED = "its pods that request a GPU have ended: it needs no turn"


@dataclass(frozen=True)
class Note:
    """Set the message of the check, which stays Pending."""

    workload: CheckedWorkload
    message: str


@dataclass(frozen=True)
class Admit:
    """Set the check of a Workload to Ready that needs no turn of its own.

    It is that of a YoloTrainingJob, whose pods the operator creates in a turn, or no pod of it is left to run.
    """

    workload: CheckedWorkload
    message: str = _ADMITTED


Answer = Note | Admit | WithdrawReady | EvictWorkload


def answer(workload: CheckedWorkload, *, owns_gpu: bool, waits_for: str) -> Answer | None:
    """Return what to write into the check of a Workload; None for nothing.

    `waits_for` is why it has no GPU yet; empty if unknown.
    """
    entry = workload.entry
    if entry is None or workload.finished or workload.deleting or owns_gpu:
        return None
    if workload.job_uid:
        return Admit(workload) if workload.is_asked else None
    if workload.pods_have_ended:  # evicted as they ended; the job ends only once Kueue has resumed it
        return Admit(workload, _ENDED) if workload.is_asked else None
    if entry.state == READY:
        if workload.admitted and not workload.stop:
            return EvictWorkload(workload, "it runs without a turn", pauses=True)
        return WithdrawReady(workload)
    message = workload.objection or waits_for
    if not workload.is_asked or not message or not is_news(message, entry.message):
        return None
    return Note(workload, message)


def is_news(message: str, published: str) -> bool:
    """True if a message differs from the published one by more than figures: each change is an Event on the job."""
    return _FIGURES.sub("", message) != _FIGURES.sub("", published)
