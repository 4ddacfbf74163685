"""What a job or Workload requires of a GPU: a YoloTrainingJob and a Workload that Kueue checks both give a `Demand`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Grant:
    """Where the quota of a job is to be used: on nodes with these labels, with these tolerations."""

    node_labels: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()

    def __add__(self, other: "Grant") -> "Grant":
        return Grant({**self.node_labels, **other.node_labels}, self.tolerations + other.tolerations)


@dataclass(frozen=True)
class PodGpus:
    """The GPUs of the pods of a pod set."""

    pods: int = 1
    each: int = 1
    """GPUs of each pod; 0 for pods that need none."""

    @property
    def total(self) -> int:
        """The GPUs of all pods."""
        return self.pods * self.each


@dataclass(frozen=True)
class Demand:
    """The requirements of a job or Workload for a GPU. Those with equal demands are eligible for the same GPUs."""

    namespace: str
    need_mib: int
    node_labels: frozenset[tuple[str, str]] = frozenset()
    resident_labels: frozenset[tuple[str, str]] = frozenset()
    start_when: str = "Immediately"
    idle_for: str | None = None
    tolerations: str = "[]"
    """As JSON, which is hashable."""
    needs_resident: bool = False
    """True if only a GPU with a resident will do: the resident measures its memory, and its node is known."""
    memory_field: str = "spec.gpu.memory"
    """Where `need_mib` is written, for messages."""
    pod_sets: tuple[PodGpus, ...] = (PodGpus(),)
    """The pods and GPUs of each pod set: a YoloTrainingJob has one pod with one GPU."""

    @property
    def total_gpus(self) -> int:
        """The GPUs of all pods."""
        return sum(each.total for each in self.pod_sets)

    @property
    def gpus_text(self) -> str:
        """What the pod sets request, for messages: "4", or "1 and 2 x 1" for a pod, and two pods of another set."""
        using = (each for each in self.pod_sets if each.total)
        return " and ".join(f"{each.pods} x {each.each}" if each.pods > 1 else str(each.each) for each in using)
