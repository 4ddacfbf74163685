"""A control plane with residents and jobs in it, as a test sees it and changes it."""

from devcluster.scripted.resources.events import Events
from devcluster.scripted.resources.jobs import Jobs
from devcluster.scripted.resources.leases import Leases
from devcluster.scripted.resources.nodes import Nodes
from devcluster.scripted.resources.pods import Pods
from devcluster.scripted.resources.volumes import Volumes
from devcluster.waiting import eventually


class World(Jobs, Pods, Volumes, Events, Nodes, Leases):
    """One test's namespace, with the cluster's nodes and the Leases of the operator's namespace."""

    def empty(self) -> None:
        """Delete all objects of the namespace; wait until no pod is left."""
        self.empty_jobs()
        self.empty_pods()
        self.empty_volumes()

    def bind_pod(self, name: str, node: str) -> None:
        """Bind a pod to a node in place of the scheduler, which finds none, and report the node as ready."""
        eventually(lambda: self.pod(name)["status"].get("conditions"), f"the scheduler to look at pod {name}")
        self.set_node(node, "True", "kubelet is posting ready status")
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        self._expect(self.api.post(f"{self._pods}/{name}/binding", json={"metadata": {"name": name}, "target": target}))
