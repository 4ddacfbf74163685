"""Reads the Workloads of Kueue that have the operator's check; none where there is no Kueue, or no such check."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gpu_relay.api.words import ADMISSION_CONTROLLER
from gpu_relay.clients.resources import ADMISSION_CHECKS, WORKLOADS
from gpu_relay.domain.objects.job import Object
from gpu_relay.domain.objects.listed_workload import ListedWorkload, listed_workload_of
from gpu_relay.domain.untrusted import mapping
from kubectl_relay.effects.cluster import Cluster, ForbiddenError, NotInstalledError


@dataclass(frozen=True)
class WorkloadList:
    """The Workloads that could be read."""

    items: tuple[ListedWorkload, ...] = ()
    everywhere: bool = True
    """True where those of all namespaces are among them, or there are none."""
    hidden: dict[str, str] = field(default_factory=dict)
    """What the user may not read, and the right that it takes."""
    checked: bool = False
    """True where the operator may have a check: there can be Workloads, and Events of their turns."""


class WorkloadReader:
    """Reads Workloads with the user's rights."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def read(self, namespace: str | None, *, widen: bool) -> WorkloadList:
        """Read the Workloads of a namespace (None: of all); `widen` reads those of all where that is allowed."""
        checks = self._checks()
        if checks is not None and not checks:
            return WorkloadList()
        hidden: dict[str, str] = {}
        for scope in dict.fromkeys((None if widen else namespace, namespace)):
            try:
                raws = self._cluster.list(WORKLOADS, scope)
            except NotInstalledError:
                return WorkloadList()
            except ForbiddenError as error:
                what = "Workloads of Kueue" if scope == namespace else "Workloads of other namespaces"
                hidden = {what: error.right}
                continue
            found = (listed_workload_of(raw, checks) for raw in raws)
            return WorkloadList(tuple(filter(None, found)), scope is None, hidden, checked=True)
        return WorkloadList((), False, hidden, checked=True)

    def _checks(self) -> Sequence[str] | None:
        """Return the names of the operator's AdmissionChecks; None where they may not be read, and Kueue exists."""
        try:
            return [each["metadata"]["name"] for each in self._cluster.list(ADMISSION_CHECKS, None) if _is_ours(each)]
        except NotInstalledError:
            return []
        except ForbiddenError:
            # The API server refuses the list of a kind that it does not know, too.
            return None if self._cluster.serves(WORKLOADS) else []


def _is_ours(raw: Object) -> bool:
    return mapping(raw.get("spec")).get("controllerName") == ADMISSION_CONTROLLER
