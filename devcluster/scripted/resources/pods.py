"""Pods, and what a scheduler and a kubelet write about them."""

import json
import time
from typing import Any

import httpx

from devcluster.scripted.manifests import Object, container, restricted_pod
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.resources.namespace import Namespace
from devcluster.waiting import eventually


class Pods(Namespace):
    """Pods of one namespace."""

    def __init__(self, api: httpx.Client, namespace: str) -> None:
        super().__init__(api, namespace)
        self._pods = f"/api/v1/namespaces/{namespace}/pods"

    def empty_pods(self) -> None:
        """Delete the pods, and wait until none is left: a resident's pod would be a resident for all tests."""
        self.api.request("DELETE", self._pods, json={"gracePeriodSeconds": 0})
        eventually(lambda: not self.api.get(self._pods).json()["items"], "no pods left")

    def add_resident(
        self,
        resident: ScriptedResident,
        *,
        name: str = "sam3",
        node: str = "node-1",
        annotations: dict[str, str] | None = None,
        **labels: str,
    ) -> None:
        """Create a resident's pod that runs on a node and has the scripted resident's address."""
        body = {
            "metadata": {
                "name": name,
                "labels": {"gpurelay.dev/resident": "sam3", **labels},
                "annotations": annotations or {},
            },
            "spec": {"nodeName": node, **restricted_pod("sam3", "gpu-relay/sam3")},
        }
        self._expect(self.api.post(self._pods, json=body))
        self.set_pod(name, phase="Running", podIP=resident.ip, podIPs=[{"ip": resident.ip}])

    def create_pod(self, name: str, **labels: str) -> None:
        """Create a pod that does not belong to a job."""
        spec = restricted_pod("main", "x")
        self._expect(self.api.post(self._pods, json={"metadata": {"name": name, "labels": labels}, "spec": spec}))

    def training_pods(self) -> list[Object]:
        """List the training pods."""
        return list(self._expect(self.api.get(self._pods, params={"labelSelector": "gpurelay.dev/job"}))["items"])

    def pod(self, name: str) -> Object:
        """Read a pod."""
        return self._expect(self.api.get(f"{self._pods}/{name}"))

    def pod_names(self) -> list[str]:
        """List the training pods' names."""
        return sorted(pod["metadata"]["name"] for pod in self.training_pods())

    def node_of(self, pod: str) -> str:
        """Return the node of a pod; empty while it has none."""
        pods = {each["metadata"]["name"]: each for each in self.training_pods()}
        return str(pods.get(pod, {}).get("spec", {}).get("nodeName", ""))

    def gpu_of(self, pod: str) -> str:
        """Return the UUID, in lower case, of the GPU that a training pod trains on."""
        return str(self.pod(pod)["metadata"]["labels"]["gpurelay.dev/gpu"])

    def exists(self, pod: str) -> bool:
        """Return whether a pod exists and is not being deleted."""
        answer = self.api.get(f"{self._pods}/{pod}")
        return answer.is_success and "deletionTimestamp" not in answer.json()["metadata"]

    def pod_uid(self, pod: str) -> str:
        """Return the UID of a pod; empty while it does not exist."""
        answer = self.api.get(f"{self._pods}/{pod}")
        return str(answer.json()["metadata"]["uid"]) if answer.is_success else ""

    def shows_pod(self, name: str) -> None:
        """Wait until a training pod exists."""
        eventually(lambda: name in self.pod_names(), f"training pod {name}")

    def run_pod(self, name: str, *, ip: str = "") -> None:
        """Report a training pod as running, and the address of its trainer."""
        address = {"podIP": ip, "podIPs": [{"ip": ip}]} if ip else {}
        self.set_pod(name, phase="Running", containerStatuses=[container({"running": {}})], **address)

    def end_pod(
        self,
        name: str,
        reason: str = "Completed",
        exit_code: int = 0,
        *,
        times: tuple[str, str] | None = None,
        **word: Any,
    ) -> None:
        """Report a training pod as ended, with a termination message; `times` are its container's start and end."""
        message = json.dumps({"reason": reason, "message": f"said {reason}", **word})
        ended = {"exitCode": exit_code, "reason": "Completed" if exit_code == 0 else "Error", "message": message}
        if times is not None:
            ended |= {"startedAt": times[0], "finishedAt": times[1]}
        phase = "Succeeded" if exit_code == 0 else "Failed"
        self.set_pod(name, phase=phase, containerStatuses=[container({"terminated": ended})])

    def set_pod(self, name: str, **status: Any) -> None:
        """Write a pod's status."""
        self._patch(f"{self._pods}/{name}/status", {"status": status})

    def label_pod(self, name: str, labels: dict[str, str]) -> None:
        """Change a pod's labels."""
        self._patch(f"{self._pods}/{name}", {"metadata": {"labels": labels}})

    def annotate_pod(self, name: str, annotations: dict[str, str]) -> None:
        """Change a pod's annotations."""
        self._patch(f"{self._pods}/{name}", {"metadata": {"annotations": annotations}})

    def finalize_pod(self, name: str, finalizers: list[str]) -> None:
        """Set a pod's finalizers: a deleted pod stays while it has one."""
        self._patch(f"{self._pods}/{name}", {"metadata": {"finalizers": finalizers}})

    def delete_pod(self, name: str, *, grace: int = 0) -> None:
        """Delete a pod: immediately, like one that is lost with its node, or with a grace period, as users do."""
        self._expect(self.api.request("DELETE", f"{self._pods}/{name}", json={"gracePeriodSeconds": grace}))

    def evict_pod(self, name: str) -> None:
        """Evict a pod, as `kubectl drain` does."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        self._expect(self.api.post(f"{self._pods}/{name}/eviction", json=body))

    def delete_as_kubelet(self, name: str) -> None:
        """Wait until the deletion of a pod is requested, then remove it, as a kubelet does."""
        eventually(lambda: not self.exists(name), f"pod {name} to be deleted")
        self.api.request("DELETE", f"{self._pods}/{name}", json={"gracePeriodSeconds": 0})

    def write_pod_event(
        self, name: str, reason: str, message: str, *, kind: str = "Warning", later: float = 0.0
    ) -> None:
        """Write an Event on a pod, as its kubelet does, dated `later` seconds from now."""
        meta = self.pod(name)["metadata"]
        seen = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + later))
        event = {
            "metadata": {"generateName": f"{name}."}, "type": kind, "reason": reason, "message": message,
            "firstTimestamp": seen, "lastTimestamp": seen, "count": 1, "source": {"component": "kubelet"},
            "involvedObject": {"kind": "Pod", "namespace": self.namespace, "name": name, "uid": meta["uid"]},
        }  # fmt: skip
        self._expect(self.api.post(f"/api/v1/namespaces/{self.namespace}/events", json=event))
