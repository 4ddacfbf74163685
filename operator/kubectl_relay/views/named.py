"""Which job or Workload a name on the command line means: `digits`, or with its kind, `job/my-training`."""

from collections.abc import Iterable
from dataclasses import dataclass

from gpu_relay.api.words import KIND
from gpu_relay.domain.objects.listed_workload import ListedWorkload
from gpu_relay.domain.objects.represented import title

_WORKLOAD = "workload"
_WITH_LOGS = frozenset({"Job", "Pod"})
"""Kinds that `kubectl logs` takes."""


@dataclass(frozen=True)
class Named:
    """A name, and a kind in lower case; the kind is empty if it was left out."""

    kind: str
    name: str

    @property
    def may_be_job(self) -> bool:
        """True if a YoloTrainingJob can be meant."""
        return self.kind in {"", KIND.lower(), "ytj"}

    def names(self, listed: ListedWorkload) -> bool:
        """True for a Workload with this name, or that represents an object with this name."""
        represents = listed.represents
        if self.kind in {"", _WORKLOAD} and listed.key.name == self.name:
            return True
        return represents is not None and self.name == represents.name and self.kind in {"", represents.kind.lower()}


def read_name(text: str) -> Named:
    """Read a name as kubectl does: NAME, or KIND/NAME."""
    kind, _, name = text.rpartition("/")
    return Named(kind.lower(), name)


def workloads_named(named: Named, namespace: str, workloads: Iterable[ListedWorkload]) -> list[ListedWorkload]:
    """Return the Workloads of a namespace that a name can mean, the newest for each object that they represent."""
    found = [each for each in workloads if each.key.namespace == namespace and named.names(each)]
    newest = {title(each.key, each.represents): each for each in sorted(found, key=lambda each: each.workload.created)}
    return list(newest.values())


def not_for(listed: ListedWorkload) -> str:
    """Return that a command is for YoloTrainingJobs, and what to use for the object that a Workload represents."""
    represents = listed.represents
    name = f"{represents.kind.lower()}/{represents.name}" if represents else f"{_WORKLOAD}/{listed.key.name}"
    has_log = represents is not None and represents.kind in _WITH_LOGS
    way = f"kubectl -n {listed.key.namespace} {'logs -f' if has_log else 'describe'} {name}"
    return (
        f"{title(listed.key, represents)} is no {KIND}, and takes turns through Kueue: use kubectl itself, for example "
        f"`{way}`; `kubectl relay explain {name}` says what it waits for"
    )


def ambiguity(name: str, namespace: str, *, job: bool, workloads: Iterable[ListedWorkload]) -> str:
    """Return that several objects have a name, and how to write each."""
    ways = [f"{KIND.lower()}/{name}"] if job else []
    for each in workloads:
        represents = each.represents
        own = represents is not None and represents.name == name
        ways.append(f"{represents.kind.lower()}/{name}" if own and represents else f"{_WORKLOAD}/{each.key.name}")
    return f"namespace {namespace} has several objects named {name}: write {' or '.join(ways)}"
