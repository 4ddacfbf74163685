"""A control plane with residents and jobs in it, as a test sees it, and changes it in the kubelet's stead."""

import json
import time
from typing import Any

import httpx

from devcluster.scripted.resident import ScriptedResident
from devcluster.waiting import eventually

Object = dict[str, Any]
_JOBS = "/apis/gpurelay.dev/v1alpha1"
_VOLUMES = "/api/v1/persistentvolumes"
_NAMESPACE = "tests.gpurelay.dev/namespace"
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/gpu-relay/leases"


class World:
    """One test's namespace; the operator's namespace is shared and emptied of Leases between tests."""

    def __init__(self, api: httpx.Client, namespace: str) -> None:
        self.api = api
        self.namespace = namespace
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._claims = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
        self._jobs = f"{_JOBS}/namespaces/{namespace}/yolotrainingjobs"

    def empty(self) -> None:
        """Delete all of it; wait until no pod is left, as a resident's would be a resident for all tests."""
        self.api.delete(self._jobs)
        self.api.request("DELETE", self._pods, json={"gracePeriodSeconds": 0})
        eventually(lambda: not self.api.get(self._pods).json()["items"], "no pods left")
        self.api.delete(self._claims)
        self.api.delete(_VOLUMES, params={"labelSelector": f"{_NAMESPACE}={self.namespace}"})

    # residents

    def add_resident(
        self,
        resident: ScriptedResident,
        *,
        name: str = "sam3",
        node: str = "node-1",
        annotations: dict[str, str] | None = None,
        **labels: str,
    ) -> None:
        """Create a resident's pod, running on a node, reachable at the scripted resident's address."""
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

    # PersistentVolumeClaims

    def add_claims(self, *names: str) -> None:
        """Create PVCs with a volume each, and wait until they are bound."""
        for name in names:
            volume = f"{self.namespace}-{name}"
            source = {"hostPath": {"path": f"/{name}"}}
            self.add_volume(volume, **source, claimRef={"namespace": self.namespace, "name": name})
            self.add_claim(name, volumeName=volume)
        eventually(lambda: all(map(self.is_bound, names)), f"claims {', '.join(names)} to be bound")

    def add_volume(self, name: str, **spec: Any) -> None:
        """Create a PersistentVolume, which `empty` deletes."""
        meta = {"name": name, "labels": {_NAMESPACE: self.namespace}}
        spec = {"accessModes": ["ReadWriteMany"], "capacity": {"storage": "1Gi"}, "storageClassName": "", **spec}
        self._expect(self.api.post(_VOLUMES, json={"metadata": meta, "spec": spec}))

    def add_claim(self, name: str, **spec: Any) -> None:
        """Create a PVC; without more in `spec`, nothing binds it."""
        size = {"resources": {"requests": {"storage": "1Gi"}}}
        spec = {"accessModes": ["ReadWriteMany"], "storageClassName": "", **size, **spec}
        self._expect(self.api.post(self._claims, json={"metadata": {"name": name}, "spec": spec}))

    def claim(self, name: str) -> Object:
        """Read a PVC."""
        return self._expect(self.api.get(f"{self._claims}/{name}"))

    def is_bound(self, claim: str) -> bool:
        """True where a PVC has its volume."""
        return bool(self.claim(claim)["status"].get("phase") == "Bound")

    def delete_claim(self, name: str) -> None:
        """Delete a PVC, and wait until it is gone."""
        self._expect(self.api.delete(f"{self._claims}/{name}"))
        eventually(lambda: self.api.get(f"{self._claims}/{name}").status_code == 404, f"claim {name} to be gone")

    # jobs

    def apply_job(self, name: str, *, memory: str = "10Gi", queue: str = "", **spec: Any) -> Object:
        """Create a job, for a LocalQueue of Kueue if one is named; `spec` adds to a minimal one."""
        body = job_manifest(name, memory=memory, **spec)
        if queue:
            body["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": queue}
        return self._expect(self.api.post(self._jobs, json=body))

    def patch_job(self, name: str, **spec: Any) -> Object:
        """Change fields of a job's spec."""
        return self._patch(f"{self._jobs}/{name}", {"spec": spec})

    def touch_job(self, name: str) -> None:
        """Change a job's labels, so that the operator looks at it again."""
        self.label_job(name, "touched", str(time.monotonic()))

    def label_job(self, name: str, label: str, value: str | None) -> None:
        """Set a label of a job; None removes it."""
        self._patch(f"{self._jobs}/{name}", {"metadata": {"labels": {label: value}}})

    def has_job(self, name: str) -> bool:
        """True while a job exists."""
        return bool(self.api.get(f"{self._jobs}/{name}").is_success)

    def delete_job(self, name: str, *, policy: str = "Background") -> None:
        """Delete a job: its pods after it (Background) or before it (Foreground)."""
        self._expect(self.api.request("DELETE", f"{self._jobs}/{name}", json={"propagationPolicy": policy}))

    def job(self, name: str) -> Object:
        """Read a job."""
        return self._expect(self.api.get(f"{self._jobs}/{name}"))

    def version(self, name: str) -> str:
        """Return a job's resourceVersion: it changes with every write."""
        return str(self.job(name)["metadata"]["resourceVersion"])

    def watch_job(self, name: str, since: str, *, seconds: int) -> list[Object]:
        """Return every version of a job that was written after the version `since`, and in the next seconds."""
        query = {
            "watch": "1", "resourceVersion": since, "timeoutSeconds": str(seconds),
            "fieldSelector": f"metadata.name={name}",
        }  # fmt: skip
        with self.api.stream("GET", self._jobs, params=query, timeout=seconds + 30) as answer:
            seen = [json.loads(line) for line in answer.iter_lines() if line]
        return [dict(event["object"]) for event in seen if event["type"] in {"ADDED", "MODIFIED"}]

    def attempts(self, name: str) -> list[Object]:
        """Return a job's attempts that have ended."""
        return list(self.job(name)["status"].get("attempts", []))

    def phase(self, name: str) -> str:
        """Return a job's phase."""
        return str(self.job(name)["status"].get("phase", ""))

    def reaches(self, name: str, *phases: str) -> None:
        """Wait until a job is in one of these phases."""
        eventually(lambda: self.phase(name) in phases, f"{name} to be {' or '.join(phases)}")

    def condition(self, name: str, kind: str) -> Object:
        """Return a condition of a job, empty while it has none of that type."""
        conditions = self.job(name)["status"].get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {})

    def events(self, name: str) -> list[str]:
        """Return the reasons of a job's Events in the order in which they were written."""
        return [item["reason"] for item in self._events(name)]

    def event(self, name: str, reason: str) -> Object | None:
        """Return the first Event of a job with this reason; None while there is none."""
        return next((item for item in self._events(name) if item["reason"] == reason), None)

    def _events(self, name: str) -> list[Object]:
        items = self._expect(self.api.get(f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events"))["items"]
        mine = [
            item
            for item in items
            if item["regarding"].get("name") == name and item["regarding"]["kind"] == "YoloTrainingJob"
        ]
        return sorted(mine, key=lambda item: str(item["eventTime"]))

    def event_message(self, name: str, reason: str) -> str:
        """Return the type and message of the first Event of a job with this reason; empty while there is none."""
        event = self.event(name, reason)
        return f"{event['type']}: {event['note']}" if event else ""

    # training pods, and what a kubelet says of them

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
        """Return the node that a pod was put on; empty while there is none."""
        pods = {each["metadata"]["name"]: each for each in self.training_pods()}
        return str(pods.get(pod, {}).get("spec", {}).get("nodeName", ""))

    def shows_pod(self, name: str) -> None:
        """Wait for a training pod."""
        eventually(lambda: name in self.pod_names(), f"training pod {name}")

    def run_pod(self, name: str, *, ip: str = "") -> None:
        """Say that a training pod runs, and where its trainer answers."""
        address = {"podIP": ip, "podIPs": [{"ip": ip}]} if ip else {}
        self.set_pod(name, phase="Running", containerStatuses=[container({"running": {}})], **address)

    def end_pod(self, name: str, reason: str = "Completed", exit_code: int = 0, **word: Any) -> None:
        """Say that a training pod has ended with a last word."""
        message = json.dumps({"reason": reason, "message": f"said {reason}", **word})
        ended = {"exitCode": exit_code, "reason": "Completed" if exit_code == 0 else "Error", "message": message}
        phase = "Succeeded" if exit_code == 0 else "Failed"
        self.set_pod(name, phase=phase, containerStatuses=[container({"terminated": ended})])

    def set_pod(self, name: str, **status: Any) -> None:
        """Write a pod's status."""
        self._patch(f"{self._pods}/{name}/status", {"status": status})

    def label_pod(self, name: str, labels: dict[str, str]) -> None:
        """Change a pod's labels."""
        self._patch(f"{self._pods}/{name}", {"metadata": {"labels": labels}})

    def finalize_pod(self, name: str, finalizers: list[str]) -> None:
        """Set a pod's finalizers: while it has one, it stays though it was deleted."""
        self._patch(f"{self._pods}/{name}", {"metadata": {"finalizers": finalizers}})

    def tell_of_pod(self, name: str, reason: str, message: str, *, kind: str = "Warning", later: float = 0.0) -> None:
        """Write an Event on a pod, as its kubelet does; `later` are seconds by which it is newer than now."""
        meta = self.pod(name)["metadata"]
        seen = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + later))
        event = {
            "metadata": {"generateName": f"{name}."}, "type": kind, "reason": reason, "message": message,
            "firstTimestamp": seen, "lastTimestamp": seen, "count": 1, "source": {"component": "kubelet"},
            "involvedObject": {"kind": "Pod", "namespace": self.namespace, "name": name, "uid": meta["uid"]},
        }  # fmt: skip
        self._expect(self.api.post(f"/api/v1/namespaces/{self.namespace}/events", json=event))

    # claims

    def annotate_pod(self, name: str, annotations: dict[str, str]) -> None:
        """Change a pod's annotations."""
        self._patch(f"{self._pods}/{name}", {"metadata": {"annotations": annotations}})

    def exists(self, pod: str) -> bool:
        """True while a pod exists and is not about to go."""
        answer = self.api.get(f"{self._pods}/{pod}")
        return answer.is_success and "deletionTimestamp" not in answer.json()["metadata"]

    def waits_for(self, name: str, reason: str) -> Object | None:
        """Return a job's Reconciling condition while it has this reason."""
        condition = self.condition(name, "Reconciling")
        return condition if condition.get("reason") == reason else None

    def create_pod(self, name: str, **labels: str) -> None:
        """Create a pod that no operator made."""
        spec = restricted_pod("main", "x")
        self._expect(self.api.post(self._pods, json={"metadata": {"name": name, "labels": labels}, "spec": spec}))

    def bind_pod(self, name: str, node: str) -> None:
        """Put a pod on a node, in place of the scheduler, which finds none; the node is ready."""
        eventually(lambda: self.pod(name)["status"].get("conditions"), f"the scheduler to look at pod {name}")
        self.set_node(node, "True", "kubelet is posting ready status")
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        self._expect(self.api.post(f"{self._pods}/{name}/binding", json={"metadata": {"name": name}, "target": target}))

    def delete_pod(self, name: str, *, grace: int = 0) -> None:
        """Delete a pod: at once, as one that is lost with its node, or with a grace period, as people do."""
        self._expect(self.api.request("DELETE", f"{self._pods}/{name}", json={"gracePeriodSeconds": grace}))

    def evict_pod(self, name: str) -> None:
        """Evict a pod, as `kubectl drain` does."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        self._expect(self.api.post(f"{self._pods}/{name}/eviction", json=body))

    def obey(self, name: str) -> None:
        """Wait until a pod is told to stop, and have it gone, as a kubelet does."""
        eventually(lambda: not self.exists(name), f"pod {name} to be told to stop")
        self.api.request("DELETE", f"{self._pods}/{name}", json={"gracePeriodSeconds": 0})

    # nodes

    def create_node(self, name: str) -> None:
        """Create a node."""
        labels = {"kubernetes.io/hostname": name}
        self._expect(self.api.post("/api/v1/nodes", json={"metadata": {"name": name, "labels": labels}}))

    def set_node(self, name: str, ready: str, message: str) -> None:
        """Say whether a node is ready: True, False or Unknown."""
        condition = {
            "type": "Ready", "status": ready, "reason": "NodeStatusUnknown", "message": message,
            "lastHeartbeatTime": _now(), "lastTransitionTime": _now(),
        }  # fmt: skip
        self._patch(f"/api/v1/nodes/{name}/status", {"status": {"conditions": [condition]}})

    def set_room(self, name: str, cpu: str | None) -> None:
        """Say how many CPUs a node has, with room for pods; None leaves it without any, so that none is put on it."""
        room = {"cpu": cpu, "memory": "32Gi", "pods": "110"} if cpu is not None else None
        self._patch(f"/api/v1/nodes/{name}/status", {"status": {"allocatable": room, "capacity": room}})

    def delete_node(self, name: str) -> None:
        """Delete a node."""
        self._expect(self.api.delete(f"/api/v1/nodes/{name}"))

    # Leases

    def leases(self) -> dict[str, str]:
        """Return the holder of each GPU's Lease."""
        return {item["metadata"]["name"]: item["spec"]["holderIdentity"] for item in self._gpu_leases()}

    def leader(self) -> str:
        """Return who leads; empty where nobody does."""
        answer = self.api.get(f"{_LEASES}/gpu-relay-leader")
        return str(answer.json()["spec"]["holderIdentity"]) if answer.is_success else ""

    def leader_transitions(self) -> int:
        """Return how often the leader has changed."""
        return int(self._expect(self.api.get(f"{_LEASES}/gpu-relay-leader"))["spec"]["leaseTransitions"])

    def take_leadership(self, holder: str) -> None:
        """Write somebody else into the leader's Lease, by force."""
        self._patch(f"{_LEASES}/gpu-relay-leader", {"spec": {"holderIdentity": holder}})

    def delete_leader_lease(self) -> None:
        """Delete the leader's Lease."""
        self._expect(self.api.delete(f"{_LEASES}/gpu-relay-leader"))

    def _gpu_leases(self) -> list[Object]:
        return list(self._expect(self.api.get(_LEASES, params={"labelSelector": "gpurelay.dev/gpu"}))["items"])

    def nothing_owed(self) -> bool:
        """True when every Lease is the resident's and no reload is owed."""
        items = self._gpu_leases()
        owed = [item["metadata"].get("annotations", {}).get("gpurelay.dev/reload-owed") for item in items]
        return all(item["spec"]["holderIdentity"] == "resident" for item in items) and not any(owed)

    def _patch(self, path: str, body: Object) -> Object:
        headers = {"Content-Type": "application/merge-patch+json"}
        return self._expect(self.api.patch(path, content=json.dumps(body), headers=headers))

    @staticmethod
    def _expect(answer: httpx.Response) -> Object:
        assert answer.is_success, f"{answer.request.method} {answer.request.url.path}: {answer.text}"
        return dict(answer.json())


def job_manifest(name: str, *, memory: str = "10Gi", **spec: Any) -> Object:
    """Return a minimal job, with fields of the spec added or replaced."""
    return {
        "apiVersion": "gpurelay.dev/v1alpha1",
        "kind": "YoloTrainingJob",
        "metadata": {"name": name},
        "spec": {
            "model": "yolo26n.yaml",
            "dataset": {"persistentVolumeClaim": {"claimName": "data"}, "path": "digits"},
            "output": {"persistentVolumeClaim": {"claimName": "results"}, "path": name},
            "gpu": {"memory": memory},
            **spec,
        },
    }


def restricted_pod(container: str, image: str) -> Object:
    """Return the spec of a pod that Pod Security's level `restricted` lets pass."""
    security = {
        "runAsNonRoot": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    return {"containers": [{"name": container, "image": image, "securityContext": security}]}


def container(state: Object, name: str = "trainer") -> Object:
    """Return the status of a container in a state, of the trainer's unless another is named."""
    return {"name": name, "image": "x", "imageID": "x", "ready": False, "restartCount": 0, "state": state}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
