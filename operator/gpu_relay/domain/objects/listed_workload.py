"""A Workload that has the operator's check, as a viewer lists it: with the object that it represents, and its end."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gpu_relay.api import words
from gpu_relay.domain.objects.checked_workload import READY, CheckedWorkload, checked_workload_of, pin_of
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.objects.represented import Represented
from gpu_relay.domain.untrusted import mapping, mappings, moment, text

Object = dict[str, Any]
_SUCCEEDED = "Succeeded"
"""The reason of Kueue's condition Finished if the Job has succeeded."""


@dataclass(frozen=True)
class KueueCondition:
    """A condition of a Workload; an empty text is unknown."""

    type: str
    status: str
    reason: str
    message: str
    since: str


@dataclass(frozen=True)
class ListedWorkload:
    """A Workload as a viewer has read it."""

    workload: CheckedWorkload
    conditions: tuple[KueueCondition, ...] = ()
    ready_since: str | None = None
    """Since when the check has its state."""
    hosts: Mapping[str, str] = field(default_factory=dict)
    """By GPU of the pin: the label `kubernetes.io/hostname` of its node."""

    @property
    def key(self) -> JobKey:
        """Return its identity."""
        return self.workload.key

    @property
    def represents(self) -> Represented | None:
        """Return the object that it represents."""
        return self.workload.represents

    @property
    def message(self) -> str:
        """Return the message of the check."""
        return self.workload.entry.message if self.workload.entry else ""

    @property
    def is_pinned(self) -> bool:
        """True if the check is Ready, and pins the pods to GPUs."""
        return bool(self.pinned)

    @property
    def pinned(self) -> list[tuple[str, int]]:
        """Return each GPU to which the check pins the pods, with the fence of its turn; none unless it is Ready."""
        entry = self.workload.entry
        return sorted(entry.turns) if entry is not None and entry.state == READY else []

    @property
    def succeeded(self) -> bool:
        """True if it has finished with success."""
        return self.workload.finished and self.condition("Finished").reason == _SUCCEEDED

    @property
    def finished_at(self) -> str | None:
        """Return when it finished; None before."""
        return self.condition("Finished").since or None if self.workload.finished else None

    def condition(self, kind: str) -> KueueCondition:
        """Return a condition; an empty one if it is absent."""
        found = (each for each in self.conditions if each.type == kind)
        return next(found, KueueCondition(kind, "", "", "", ""))


def listed_workload_of(raw: Object, checks: Collection[str] | None) -> ListedWorkload | None:
    """Read a Workload; None if it has no check of the operator, or is that of a YoloTrainingJob.

    `checks` are the names of the operator's AdmissionChecks. If they are None, because the viewer may not list
    AdmissionChecks, a Workload has the check if its pod template has the annotation for the GPU memory.
    """
    known = _likely_checks(raw) if checks is None else checks
    workload = checked_workload_of(raw, known)
    if workload.job_uid or (workload.entry is None and not (checks is None and workload.need_mib)):
        return None
    status = mapping(raw.get("status"))
    entries = (each for each in mappings(status.get("admissionChecks")) if text(each.get("name")) in known)
    entry = next(entries, {})
    return ListedWorkload(
        workload=workload,
        conditions=tuple(map(_condition, mappings(status.get("conditions")))),
        ready_since=moment(entry.get("lastTransitionTime")),
        hosts=dict(_hosts(entry)),
    )


def _hosts(entry: Object) -> Iterator[tuple[str, str]]:
    for update in mappings(entry.get("podSetUpdates")):
        host = text(mapping(update.get("nodeSelector")).get(words.LABEL_HOSTNAME))
        yield from ((gpu, host) for gpu, _ in pin_of(update)[0])


def _likely_checks(raw: Object) -> list[str]:
    """Return the check that pins the pod to a GPU, or the only check, of a Workload that asks for GPU memory."""
    template = mapping(next(iter(mappings(mapping(raw.get("spec")).get("podSets"))), {}).get("template"))
    if words.ANNOTATION_GPU_MEMORY not in mapping(mapping(template.get("metadata")).get("annotations")):
        return []
    entries = mappings(mapping(raw.get("status")).get("admissionChecks"))
    pinning = [each for each in entries if any(_pins(update) for update in mappings(each.get("podSetUpdates")))]
    found = pinning or (entries if len(entries) == 1 else [])
    return [text(each.get("name")) for each in found]


def _pins(update: Object) -> bool:
    return words.LABEL_GPU in mapping(update.get("labels"))


def _condition(raw: Object) -> KueueCondition:
    kind, status, reason, message = (text(raw.get(key)) for key in ("type", "status", "reason", "message"))
    return KueueCondition(kind, status, reason, message, moment(raw.get("lastTransitionTime")) or "")
