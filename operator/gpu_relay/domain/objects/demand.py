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
    gpus: tuple[int, ...] = (1,)
    """GPUs of each pod set, whose pods run on one node: a YoloTrainingJob has one pod with one GPU."""

    @property
    def total_gpus(self) -> int:
        """The GPUs of all pods."""
        return sum(self.gpus)
