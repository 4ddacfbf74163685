"""A Workload of Kueue that has the operator's admission check, and its codec (`kueue.x-k8s.io/v1beta2`).

Users of a namespace can write Workloads and pod templates, so the codec never raises: what cannot be read is unknown.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Any

from gpu_relay.api import words
from gpu_relay.domain.objects.demand import Demand, Grant
from gpu_relay.domain.objects.owner import WORKLOAD, JobKey
from gpu_relay.domain.objects.pod_set import MOST_GPUS, PodSet, pod_sets_of, texts_of
from gpu_relay.domain.objects.represented import Represented, represented_by
from gpu_relay.domain.quantities import duration
from gpu_relay.domain.untrusted import digits, mapping, mappings, moment, text

Object = dict[str, Any]
PENDING, READY = "Pending", "Ready"
_UNKNOWN_AGE = "8999-01-01T00:00:00Z"
"""Creation time of a Workload whose creationTimestamp cannot be read: it waits behind all others."""


@dataclass(frozen=True)
class CheckEntry:
    """The state of the operator's check in a Workload.

    Its pin is a proof of nothing: Kueue keeps an old pin in an entry that is Pending again.
    """

    name: str
    state: str
    message: str = ""
    turns: frozenset[tuple[str, int]] = frozenset()
    """Of the pin: each GPU with the fence of its turn."""
    proven_mib: int | None = None
    """Of the pin: the free MiB that were measured, of several GPUs the least."""
    node_labels: frozenset[str] = frozenset()
    """Of the pin: the values of the label `gpurelay.dev/pin` by which the pods select their nodes."""

    def pins(self, gpu: str, fence: int) -> bool:
        """True if the check is Ready for this turn."""
        return self.state == READY and (gpu, fence) in self.turns


@dataclass(frozen=True)
class CheckedWorkload:
    """A Workload as it was last read."""

    key: JobKey
    resource_version: str
    created: str
    entry: CheckEntry | None
    """None if the check was removed from it."""
    priority: int = 0
    reserved: bool = False
    reserved_since: str = ""
    admitted: bool = False
    evicted: bool = False
    finished: bool = False
    active: bool = True
    deleting: bool = False
    job_uid: str = ""
    """The UID of the YoloTrainingJob that it represents; empty for all others."""
    pod_sets: tuple[PodSet, ...] = ()
    need_mib: int = 0
    """GPU memory of each of its GPUs: the most that a pod of it needs."""
    grant: Grant = field(default_factory=Grant)
    """The nodes on which its pods may run: by their template, and by the flavors of its quota."""
    objection: str = ""
    """Why it cannot have a turn; empty if it can."""
    pods_have_ended: bool = False
    """All of its pods that request a GPU have ended: Kueue has reserved quota for none of them."""
    yields: bool = False
    max_outage: timedelta | None = None
    flavors: tuple[str, ...] = ()
    """The ResourceFlavors of its quota."""
    plain_pod: str = ""
    """The plain Pod that it represents; empty for other kinds."""
    represents: Represented | None = None
    """The object that it represents, such as a Job; None if it has no controller."""

    @cached_property
    def demand(self) -> Demand:
        """Return what it requires of a GPU."""
        return Demand(
            self.key.namespace,
            self.need_mib,
            frozenset(self.grant.node_labels.items()),
            tolerations=json.dumps([dict(each) for each in self.grant.tolerations]),
            needs_resident=True,
            memory_field=f"the annotation {words.ANNOTATION_GPU_MEMORY}",
            pod_sets=tuple(each.size for each in self.pod_sets),
        )

    @property
    def queued_since(self) -> str:
        """Return the time by which the queue orders it: an evicted Workload goes behind those that wait."""
        return self.reserved_since or self.created

    @property
    def stop(self) -> str:
        """Return why it must not have a GPU; empty while it may. A finished Workload keeps its other conditions."""
        if self.finished:
            return "it has finished"
        if self.deleting:
            return "it is being deleted"
        if self.evicted:
            return "Kueue has evicted it"
        if not self.active:
            return "it is deactivated"
        return "" if self.reserved else "Kueue has reserved no quota for it"

    @property
    def is_asked(self) -> bool:
        """True if Kueue waits for the answer of the check."""
        return not self.stop and self.entry is not None and self.entry.state == PENDING

    @property
    def waits(self) -> bool:
        """True if it waits for a GPU."""
        return self.is_asked and not self.job_uid and not self.objection


def checked_workload_of(raw: Object, checks: Collection[str]) -> CheckedWorkload:
    """Read a Workload. `checks` are the names of the operator's AdmissionChecks."""
    meta, spec, status = mapping(raw.get("metadata")), mapping(raw.get("spec")), mapping(raw.get("status"))
    pod_sets = pod_sets_of(raw)
    conditions = {text(each.get("type")): each for each in mappings(status.get("conditions"))}
    read = CheckedWorkload(
        key=JobKey(text(meta.get("namespace")), text(meta.get("name")), text(meta.get("uid")), WORKLOAD),
        resource_version=text(meta.get("resourceVersion")),
        created=moment(meta.get("creationTimestamp")) or _UNKNOWN_AGE,
        entry=_entry(status, checks),
        priority=_priority(spec.get("priority")),
        reserved=_holds(conditions, "QuotaReserved"),
        reserved_since=moment(mapping(conditions.get("QuotaReserved")).get("lastTransitionTime")) or "",
        admitted=_holds(conditions, "Admitted"),
        evicted=_holds(conditions, "Evicted"),
        finished=_holds(conditions, "Finished"),
        active=spec.get("active") is not False,
        deleting="deletionTimestamp" in meta,
        job_uid=text(mapping(meta.get("labels")).get(words.LABEL_JOB_UID)),
        pod_sets=pod_sets,
        grant=sum((each.grant for each in pod_sets if each.size.total), Grant()),
        objection=_unplaceable(pod_sets),
        pods_have_ended=not _gpus_of(pod_sets) and _gpus_of(pod_sets_of({"spec": spec})) > 0,
        flavors=_flavors(status),
        plain_pod=_plain_pod(meta),
        represents=represented_by(meta),
    )
    return read if read.plain_pod else _with_annotations(read)


def with_pod(workload: CheckedWorkload, pod: Object) -> CheckedWorkload:
    """Return a Workload with what the metadata of the plain Pod that it represents asks."""
    meta = mapping(pod.get("metadata"))
    labels, annotations = texts_of(meta.get("labels")), texts_of(meta.get("annotations"))
    pod_sets = tuple(replace(each, labels=labels, annotations=annotations) for each in workload.pod_sets)
    return _with_annotations(replace(workload, pod_sets=pod_sets))


def _with_annotations(workload: CheckedWorkload) -> CheckedWorkload:
    """Return a Workload with what the metadata of its pods asks."""
    using = [each for each in workload.pod_sets if each.size.total]
    needs = [each.need for each in using] or [(0, "has no pod that requests a GPU")]
    objections = [workload.objection, *(why for _, why in needs), *(each.reserved_key for each in using)]
    limits = [limit for each in using if (limit := _max_outage(each.annotations)) is not None]
    return replace(
        workload,
        need_mib=max(need for need, _ in needs),
        objection=next(filter(None, objections), ""),
        yields=any(each.annotations.get(words.ANNOTATION_YIELD) == "true" for each in using),
        max_outage=min(limits, default=None),
    )


def _unplaceable(pod_sets: tuple[PodSet, ...]) -> str:
    """Return why no choice of nodes can be right for all pods of a Workload; empty if one can."""
    gpus = _gpus_of(pod_sets)
    if gpus > MOST_GPUS:
        return f"requests {gpus} GPUs, and may have at most {MOST_GPUS}"
    selectors = {tuple(sorted(each.grant.node_labels.items())) for each in pod_sets if each.size.total}
    return "has pod sets with different node selectors: write the same ones" if len(selectors) > 1 else ""


def _gpus_of(pod_sets: tuple[PodSet, ...]) -> int:
    return sum(each.size.total for each in pod_sets)


def _flavors(status: Object) -> tuple[str, ...]:
    admission = mapping(status.get("admission"))
    assigned = (texts_of(each.get("flavors")).values() for each in mappings(admission.get("podSetAssignments")))
    return tuple(sorted({name for names in assigned for name in names}))


def _plain_pod(meta: Object) -> str:
    """Return the plain Pod that a Workload represents: Kueue leaves its metadata out of the template."""
    owners = [each for each in mappings(meta.get("ownerReferences")) if each.get("controller")]
    if len(owners) != 1 or (owners[0].get("apiVersion"), owners[0].get("kind")) != ("v1", "Pod"):
        return ""
    return text(owners[0].get("name"))


def _holds(conditions: Mapping[str, Object], kind: str) -> bool:
    return mapping(conditions.get(kind)).get("status") == "True"


def _priority(value: Any) -> int:
    valid = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31
    return value if valid else 0


def _entry(status: Object, checks: Collection[str]) -> CheckEntry | None:
    found = next((each for each in mappings(status.get("admissionChecks")) if text(each.get("name")) in checks), None)
    if found is None:
        return None
    updates = mappings(found.get("podSetUpdates"))
    pins = [pin_of(each) for each in updates]
    selectors = [texts_of(each.get("nodeSelector")) for each in updates]
    return CheckEntry(
        text(found.get("name")),
        text(found.get("state")),
        text(found.get("message")),
        frozenset(turn for turns, _ in pins for turn in turns),
        min((proven for _, proven in pins if proven is not None), default=None),
        frozenset(each[words.LABEL_PIN] for each in selectors if words.LABEL_PIN in each),
    )


def pin_of(update: Object) -> tuple[set[tuple[str, int]], int | None]:
    """Return the turns for which a pod set is pinned, and the free MiB that were measured."""
    labels, annotations = texts_of(update.get("labels")), texts_of(update.get("annotations"))
    turns = [each.partition("=") for each in annotations.get(words.ANNOTATION_TURNS, "").split(",")]
    read = {(gpu, digits(fence) or 0) for gpu, _, fence in turns if gpu}
    if words.LABEL_GPU in labels:
        read.add((labels[words.LABEL_GPU], digits(labels.get(words.LABEL_FENCE)) or 0))
    return read, digits(annotations.get(words.ANNOTATION_PROVEN_MIB))


def _max_outage(annotations: Mapping[str, str]) -> timedelta | None:
    try:
        return duration(annotations[words.ANNOTATION_MAX_OUTAGE])
    except (KeyError, ValueError):
        return None
