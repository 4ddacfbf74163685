"""The kinds of objects at the API server, and their paths: code outside `clients` gets every path from here."""

from dataclasses import dataclass

from gpu_relay.api import words


@dataclass(frozen=True)
class Resource:
    """A kind of object, as RBAC rules name it."""

    group: str
    version: str
    plural: str
    subresource: str = ""

    @property
    def root(self) -> str:
        """The path of the kind's group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str | None, name: str = "") -> str:
        """Return the path of an object or a list; `namespace` is None for all, and for cluster-scoped kinds."""
        inside = f"/namespaces/{namespace}" if namespace is not None else ""
        parts = [part for part in (self.plural, name, self.subresource) if part]
        return f"{self.root}{inside}/{'/'.join(parts)}"

    @property
    def full_plural(self) -> str:
        """The plural with its subresource, as in a rule's `resources`."""
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural

    def __str__(self) -> str:
        return f"{self.full_plural}.{self.group}" if self.group else self.full_plural


JOBS = Resource(words.GROUP, words.VERSION, words.PLURAL)
LEASES = Resource("coordination.k8s.io", "v1", "leases")
PODS = Resource("", "v1", "pods")
POD_PROXY = Resource("", "v1", "pods", "proxy")
POD_LOG = Resource("", "v1", "pods", "log")
NODES = Resource("", "v1", "nodes")
NAMESPACES = Resource("", "v1", "namespaces")
WORKLOADS = Resource("kueue.x-k8s.io", "v1beta2", "workloads")
WORKLOAD_STATUS = Resource("kueue.x-k8s.io", "v1beta2", "workloads", "status")
ADMISSION_CHECKS = Resource("kueue.x-k8s.io", "v1beta2", "admissionchecks")
ADMISSION_CHECK_STATUS = Resource("kueue.x-k8s.io", "v1beta2", "admissionchecks", "status")
EVENTS = Resource("", "v1", "events")
CONFIG_MAPS = Resource("", "v1", "configmaps")


def pod_proxy_path(namespace: str, pod: str, port: int, path: str) -> str:
    """Return the path at which the API server passes a request on to a port of a pod."""
    return f"{POD_PROXY.path(namespace, f'{pod}:{port}')}/{path}"
