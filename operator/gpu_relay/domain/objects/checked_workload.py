"""A Workload of Kueue that has the operator's admission check, and its codec (`kueue.x-k8s.io/v1beta2`).

Users of a namespace can write Workloads and pod templates, so the codec never raises: what cannot be read is unknown.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Any

from gpu_relay.api import words
from gpu_relay.domain.objects.demand import Demand, Grant
from gpu_relay.domain.objects.owner import WORKLOAD, JobKey
from gpu_relay.domain.objects.represented import Represented, represented_by
from gpu_relay.domain.quantities import duration, memory_mib
from gpu_relay.domain.untrusted import digits, mapping, mappings, moment, text, whole

Object = dict[str, Any]
PENDING, READY = "Pending", "Ready"
_MOST_KEYS = 64
_UNKNOWN_AGE = "8999-01-01T00:00:00Z"
"""Creation time of a Workload whose creationTimestamp cannot be read: it waits behind all others."""
_OWN_LABELS = (words.LABEL_GPU, words.LABEL_FENCE, words.LABEL_WORKLOAD_UID)
_OWN_ANNOTATIONS = (words.LABEL_GPU, words.ANNOTATION_PROVEN_MIB)
_ONE_GPU = "takes turns with one pod and one GPU only, so far"


@dataclass(frozen=True)
class CheckEntry:
    """The state of the operator's check in a Workload.

    Its pin is a proof of nothing: Kueue keeps an old pin in an entry that is Pending again.
    """

    name: str
    state: str
    message: str = ""
    gpu: str = ""
    fence: int = 0
    proven_mib: int | None = None
    """Of the pin: the GPU, the fence of its turn, the free MiB that were measured."""

    def pins(self, gpu: str, fence: int) -> bool:
        """True if the check is Ready for this turn."""
        return self.state == READY and (self.gpu, self.fence) == (gpu, fence)


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
    pod_set: str = ""
    need_mib: int = 0
    grant: Grant = field(default_factory=Grant)
    """The nodes on which its pod may run: by its template, and by the flavor of its quota."""
    objection: str = ""
    """Why it cannot have a turn; empty if it can."""
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
    pod_sets = mappings(spec.get("podSets"))
    pod_set = pod_sets[0] if pod_sets else {}
    template = mapping(pod_set.get("template"))
    pod_spec = mapping(template.get("spec"))
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
        pod_set=text(pod_set.get("name")),
        grant=Grant(_texts(pod_spec.get("nodeSelector")), tuple(mappings(pod_spec.get("tolerations")))),
        objection=_several(pod_sets, pod_spec),
        flavors=_flavors(status),
        plain_pod=_plain_pod(meta),
        represents=represented_by(meta),
    )
    return read if read.plain_pod else with_pod(read, template)


def with_pod(workload: CheckedWorkload, pod: Object) -> CheckedWorkload:
    """Return a Workload with what the metadata of its pod template asks, or of the plain Pod that it represents."""
    meta = mapping(pod.get("metadata"))
    annotations = _texts(meta.get("annotations"))
    need, objection = _need(annotations)
    return replace(
        workload,
        need_mib=need,
        objection=workload.objection or objection or _taken(_texts(meta.get("labels")), annotations),
        yields=annotations.get(words.ANNOTATION_YIELD) == "true",
        max_outage=_max_outage(annotations),
    )


def _flavors(status: Object) -> tuple[str, ...]:
    admission = mapping(status.get("admission"))
    assigned = (_texts(each.get("flavors")).values() for each in mappings(admission.get("podSetAssignments")))
    return tuple(sorted({name for names in assigned for name in names}))


def _plain_pod(meta: Object) -> str:
    """Return the plain Pod that a Workload represents: Kueue leaves its metadata out of the template."""
    owners = [each for each in mappings(meta.get("ownerReferences")) if each.get("controller")]
    if len(owners) != 1 or (owners[0].get("apiVersion"), owners[0].get("kind")) != ("v1", "Pod"):
        return ""
    return text(owners[0].get("name"))


def _texts(value: Any) -> dict[str, str]:
    """Return the texts of a mapping, as far as a pod template may have them."""
    items = list(mapping(value).items())[:_MOST_KEYS]
    return {text(key): text(each) for key, each in items if isinstance(each, str)}


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
    pin = updates[0] if updates else {}
    labels, annotations = _texts(pin.get("labels")), _texts(pin.get("annotations"))
    return CheckEntry(
        text(found.get("name")),
        text(found.get("state")),
        text(found.get("message")),
        labels.get(words.LABEL_GPU, ""),
        digits(labels.get(words.LABEL_FENCE)) or 0,
        digits(annotations.get(words.ANNOTATION_PROVEN_MIB)),
    )


def _need(annotations: Mapping[str, str]) -> tuple[int, str]:
    """Return the GPU memory of an annotation, and why it cannot be read."""
    written = annotations.get(words.ANNOTATION_GPU_MEMORY)
    where = f"the annotation {words.ANNOTATION_GPU_MEMORY} of the pod template"
    if written is None:
        return 0, f"{where} is missing: write the GPU memory that the pod needs, for example 10Gi"
    try:
        return memory_mib(written), ""
    except ValueError:
        return 0, f"{where} is {written!r}: write it in Mi or Gi, for example 10Gi"


def _several(pod_sets: list[Object], pod_spec: Object) -> str:
    """Return that a Workload has several pods or GPUs; empty if it has one."""
    count = sum(whole(each.get("count", 1)) or 0 for each in pod_sets)
    if len(pod_sets) != 1 or count != 1:
        return f"has {count} pods, and {_ONE_GPU}"
    gpus = _gpus(mappings(pod_spec.get("containers")))
    return f"requests {gpus} GPUs, and {_ONE_GPU}" if gpus > 1 else ""


def _gpus(containers: Iterable[Object]) -> int:
    limits = (mapping(mapping(each.get("resources")).get("limits")) for each in containers)
    return sum(_whole(value) for each in limits for name, value in each.items() if str(name).endswith("/gpu"))


def _whole(quantity: Any) -> int:
    return digits(str(quantity)) or 0


def _taken(labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    """Return which key of the template the operator must set: Kueue would end the Workload for another value."""
    for kind, own, found in (("label", _OWN_LABELS, labels), ("annotation", _OWN_ANNOTATIONS, annotations)):
        for key in own:
            if key in found:
                return f"the pod template has the {kind} {key}, which the operator sets: remove it"
    return ""


def _max_outage(annotations: Mapping[str, str]) -> timedelta | None:
    try:
        return duration(annotations[words.ANNOTATION_MAX_OUTAGE])
    except (KeyError, ValueError):
        return None
