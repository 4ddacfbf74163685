"""Leases of the operator's namespace: one for each GPU, and the leader's."""

from devcluster.scripted.manifests import Object
from devcluster.scripted.resources.namespace import Namespace

_LEASES = "/apis/coordination.k8s.io/v1/namespaces/gpu-relay/leases"


class Leases(Namespace):
    """Leases of the operator's namespace, which all tests share."""

    def leases(self) -> dict[str, str]:
        """Return the holder of each GPU's Lease."""
        return {item["metadata"]["name"]: item["spec"]["holderIdentity"] for item in self._gpu_leases()}

    def no_reload_pending(self) -> bool:
        """Return whether the resident holds every Lease and no reload is pending."""
        items = self._gpu_leases()
        pending = [item["metadata"].get("annotations", {}).get("gpurelay.dev/reload-owed") for item in items]
        return all(item["spec"]["holderIdentity"] == "resident" for item in items) and not any(pending)

    def _gpu_leases(self) -> list[Object]:
        return list(self._expect(self.api.get(_LEASES, params={"labelSelector": "gpurelay.dev/gpu"}))["items"])

    def leader(self) -> str:
        """Return the holder of the leader's Lease; empty while there is no Lease."""
        answer = self.api.get(f"{_LEASES}/gpu-relay-leader")
        return str(answer.json()["spec"]["holderIdentity"]) if answer.is_success else ""

    def leader_transitions(self) -> int:
        """Return how often the leader has changed."""
        return int(self._expect(self.api.get(f"{_LEASES}/gpu-relay-leader"))["spec"]["leaseTransitions"])

    def take_leadership(self, holder: str) -> None:
        """Write another holder into the leader's Lease."""
        self._patch(f"{_LEASES}/gpu-relay-leader", {"spec": {"holderIdentity": holder}})

    def delete_leader_lease(self) -> None:
        """Delete the leader's Lease."""
        self._expect(self.api.delete(f"{_LEASES}/gpu-relay-leader"))
