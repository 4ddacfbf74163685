"""The pod sets of a Workload of Kueue, and their codec: what each needs of GPUs and nodes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gpu_relay.api import words
from gpu_relay.domain.objects.demand import Grant, PodGpus
from gpu_relay.domain.quantities import memory_mib
from gpu_relay.domain.untrusted import digits, mapping, mappings, text, whole

Object = dict[str, Any]
MOST_GPUS = 64
"""The most GPUs of one Workload."""
_MOST_SETS = 8
"""As Kueue permits."""
_MOST_KEYS = 64
_OWN_LABELS = (words.LABEL_GPU, words.LABEL_FENCE, words.LABEL_WORKLOAD_UID)
_OWN_ANNOTATIONS = (words.LABEL_GPU, words.ANNOTATION_PROVEN_MIB, words.ANNOTATION_TURNS)


@dataclass(frozen=True)
class PodSet:
    """A pod set as a Workload asks for it."""

    name: str
    size: PodGpus = field(default_factory=PodGpus)
    grant: Grant = field(default_factory=Grant)
    """The nodes on which its pods may run, by its template."""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Of its pods."""

    @property
    def reserved_key(self) -> str:
        """Return which key of the template the operator must set; empty if none. Kueue would end the Workload."""
        for kind, own, found in (
            ("label", _OWN_LABELS, self.labels),
            ("annotation", _OWN_ANNOTATIONS, self.annotations),
        ):
            for key in own:
                if key in found:
                    return f"the pod template has the {kind} {key}, which the operator sets: remove it"
        return ""

    @property
    def need(self) -> tuple[int, str]:
        """Return the MiB of GPU memory that its annotation requests, and why it cannot be read."""
        written = self.annotations.get(words.ANNOTATION_GPU_MEMORY)
        where = f"the annotation {words.ANNOTATION_GPU_MEMORY} of the pod template"
        if written is None:
            return 0, f"{where} is missing: write the GPU memory that the pod needs, for example 10Gi"
        try:
            return memory_mib(written), ""
        except ValueError:
            return 0, f"{where} is {written!r}: write it in Mi or Gi, for example 10Gi"


def pod_sets_of(raw: Object) -> tuple[PodSet, ...]:
    """Read the pod sets of a Workload, with the counts that Kueue has admitted if it admitted fewer pods."""
    admission = mapping(mapping(raw.get("status")).get("admission"))
    admitted = {text(each.get("name")): each.get("count") for each in mappings(admission.get("podSetAssignments"))}
    found = mappings(mapping(raw.get("spec")).get("podSets"))[:_MOST_SETS]
    only = len(found) == 1 and found[0].get("count", 1) == 1
    return tuple(_pod_set(each, admitted, only=only) for each in found)


def _pod_set(raw: Object, admitted: Mapping[str, Any], *, only: bool) -> PodSet:
    """Read a pod set. The one pod of a Workload may name its GPU in another way, for example by a ResourceClaim."""
    template, name = mapping(raw.get("template")), text(raw.get("name"))
    meta, spec = mapping(template.get("metadata")), mapping(template.get("spec"))
    asked, granted = whole(raw.get("count", 1)) or 0, whole(admitted.get(name))
    pods = asked if granted is None else granted
    gpus = _gpus(mappings(spec.get("containers")))
    return PodSet(
        name,
        PodGpus(pods, max(1, gpus) if only else gpus),
        Grant(texts_of(spec.get("nodeSelector")), tuple(mappings(spec.get("tolerations")))),
        texts_of(meta.get("labels")),
        texts_of(meta.get("annotations")),
    )


def texts_of(value: Any) -> dict[str, str]:
    """Return the texts of a mapping, as far as a pod template may have them."""
    items = list(mapping(value).items())[:_MOST_KEYS]
    return {text(key): text(each) for key, each in items if isinstance(each, str)}


def _gpus(containers: Iterable[Object]) -> int:
    limits = (mapping(mapping(each.get("resources")).get("limits")) for each in containers)
    return sum(digits(str(value)) or 0 for each in limits for name, value in each.items() if str(name).endswith("/gpu"))
