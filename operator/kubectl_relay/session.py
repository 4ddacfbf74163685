"""What all commands share: which cluster, which namespaces.

The Kubernetes client is imported when a command first needs it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubectl_relay.effects.cluster import Cluster
    from kubectl_relay.effects.snapshot_reader import SnapshotReader


@dataclass(frozen=True)
class Session:
    """The options that kubectl's users know, and what follows from them."""

    namespace: str | None = None
    all_namespaces: bool = False
    context: str | None = None
    kubeconfig: str | None = None
    relay_namespace: str | None = None

    @cached_property
    def cluster(self) -> "Cluster":
        """The cluster; RelayError where the kubeconfig cannot be used."""
        from kubectl_relay.effects.cluster import Cluster

        return Cluster.connect(self.kubeconfig, self.context)

    @cached_property
    def reader(self) -> "SnapshotReader":
        """The reader of snapshots."""
        from kubectl_relay.effects.cluster import relay_namespace
        from kubectl_relay.effects.snapshot_reader import SnapshotReader

        return SnapshotReader(self.cluster, self.relay_namespace or relay_namespace())

    @property
    def home(self) -> str:
        """The namespace of jobs that are named without one."""
        return self.namespace or self.cluster.namespace

    @property
    def scope(self) -> str | None:
        """The namespace whose jobs are listed; None for all."""
        return None if self.all_namespaces else self.home

    @property
    def widen(self) -> bool:
        """True where no option sets the namespaces: then all jobs that may be read are listed."""
        return self.namespace is None and not self.all_namespaces
