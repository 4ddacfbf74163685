"""GPU Relay from outside: jobs by kubectl, SAM3 by HTTP, the GPU by its ledger."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from demo.recipe import QUICK
from devcluster import Cluster, ClusterError
from devcluster.deploy import Volumes, resident_address
from devcluster.scripted.manifests import job_manifest
from devcluster.waiting import eventually
from gpu_memory.simulated import Ledger

NAMESPACE = "vision"
SYSTEM = "gpu-relay"
MODEL_MIB = 14_000
NEED_MIB = 10_240


@dataclass
class Watched:
    """What was seen from outside while a test ran; `violations` says which law was broken and when."""

    polls: int = 0
    loaded: list[bool] = field(default_factory=list)
    most_used: int = 0
    least_used: int = MODEL_MIB
    violations: list[str] = field(default_factory=list)


class Relay:
    """A deployed relay."""

    def __init__(self, cluster: Cluster, volumes: Volumes) -> None:
        self.cluster = cluster
        self.kubectl = cluster.kubectl
        self.node = cluster.node
        self.volumes = volumes
        self.ledger = cluster.ledger
        self._ledger = Ledger(cluster.ledger)

    # jobs

    def apply(self, name: str, *, epochs: int = QUICK.training["epochs"], **spec: Any) -> None:
        """Apply a job that trains the quick recipe."""
        training = {**QUICK.training, "epochs": epochs}
        manifest = job_manifest(name, model=QUICK.model, **{"training": training, **spec})
        manifest["metadata"]["namespace"] = NAMESPACE
        self.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    def patch(self, name: str, **spec: Any) -> None:
        """Change fields of a job's spec."""
        patch = json.dumps({"spec": spec})
        self.kubectl("-n", NAMESPACE, "patch", "ytj", name, "--type=merge", "-p", patch)

    def job(self, name: str) -> dict[str, Any]:
        """Read a job."""
        return dict(json.loads(self.kubectl("-n", NAMESPACE, "get", "ytj", name, "-o", "json")))

    def phase(self, name: str) -> str:
        """Return a job's phase."""
        return str(self.job(name)["status"].get("phase", ""))

    def reaches(self, name: str, *phases: str, within: float = 180.0) -> None:
        """Wait until a job is in one of these phases."""
        eventually(lambda: self.phase(name) in phases, f"{name} to be {' or '.join(phases)}", within=within)

    def trains(self, name: str) -> None:
        """Wait until a job's training holds GPU memory."""
        self.reaches(name, "Training", "Releasing", "Succeeded", "Failed")
        eventually(lambda: self.used_mib() == NEED_MIB, f"{name} to hold {NEED_MIB} MiB", within=90)

    # SAM3

    def sam3(self) -> httpx.Client:
        """Return a client of SAM3's present pod."""
        address = eventually(lambda: resident_address(self.kubectl), "SAM3's address", within=90)
        return httpx.Client(base_url=address, trust_env=False, timeout=60.0)

    def load_sam3(self, photograph: Path) -> None:
        """Have SAM3 segment a photograph, which loads it."""
        with self.sam3() as client:
            files = {"image": photograph.read_bytes()}
            answer = client.post("/api/v1/segment", files=files, data={"prompt": "building", "threshold": "0"})
        assert answer.status_code == 200, answer.text

    def loaded(self) -> bool:
        """True when SAM3 says that its model is loaded; False also while it cannot be reached."""
        try:
            with self.sam3() as client:
                return bool(client.get("/health", timeout=5).json()["model_loaded"])
        except httpx.TransportError:
            return False

    def is_back(self) -> None:
        """Wait until SAM3 is loaded and its memory booked (law 3)."""
        eventually(lambda: self.loaded() and self.used_mib() == MODEL_MIB, "SAM3 to be back", within=120)

    # the node

    def used_mib(self) -> int:
        """Return what processes hold on the simulated GPU."""
        return self._ledger.used_mib

    def kill_pod(self, labels: str, namespace: str = SYSTEM) -> None:
        """Kill a pod immediately: SIGKILL, without grace period."""
        self.kubectl("-n", namespace, "delete", "pod", "-l", labels, "--grace-period=0", "--force", "--wait=false")

    # the operator's settings

    def pod_template(self) -> str:
        """Return what every training and preparing pod starts from, as the site has it."""
        path = r"jsonpath={.data.template\.yaml}"
        return self.kubectl("-n", SYSTEM, "get", "configmap", self._pod_template_name(), "-o", path)

    def use_pod_template(self, template: str) -> None:
        """Replace it, and have the operator read it, which it does at its start."""
        patch = json.dumps({"data": {"template.yaml": template}})
        self.kubectl("-n", SYSTEM, "patch", "configmap", self._pod_template_name(), "--type=merge", "-p", patch)
        self.kubectl("-n", SYSTEM, "rollout", "restart", "deployment/gpu-relay")
        self.kubectl("-n", SYSTEM, "rollout", "status", "deployment/gpu-relay", "--timeout=180s", timeout=200)

    def _pod_template_name(self) -> str:
        """Return the ConfigMap's name, which ends in a hash of what was installed."""
        path = "jsonpath={.spec.template.spec.volumes[?(@.name=='trainer-pod-template')].configMap.name}"
        return self.kubectl("-n", SYSTEM, "get", "deployment", "gpu-relay", "-o", path)

    @contextmanager
    def watched(self) -> Iterator[Watched]:
        """Measure the GPU from outside, five times a second: SAM3 and a job must never hold memory at the same time."""
        seen, stop = Watched(), threading.Event()
        watcher = threading.Thread(target=self._watch, args=(seen, stop))
        watcher.start()
        try:
            yield seen
        finally:
            stop.set()
            watcher.join()
        assert not seen.violations, seen.violations

    def _watch(self, seen: Watched, stop: threading.Event) -> None:
        while not stop.wait(0.2):
            used = self.used_mib()
            seen.polls += 1
            seen.most_used = max(seen.most_used, used)
            seen.least_used = min(seen.least_used, used)
            if used not in {0, NEED_MIB, MODEL_MIB}:
                seen.violations.append(f"{time.strftime('%H:%M:%S')}: {used} MiB are held at once")

    def clear(self) -> None:
        """Delete all jobs and wait until the GPU is the resident's again."""
        self.kubectl("-n", NAMESPACE, "delete", "ytj", "--all", "--wait=false")
        pods = ("-n", NAMESPACE, "get", "pods", "-o", "name")
        eventually(lambda: not self.kubectl(*pods).strip(), "the training pods to go", within=120)

    def report(self) -> str:
        """Return what helps to understand a failure."""
        parts = [
            ("-n", NAMESPACE, "describe", "ytj"),
            ("get", "pods", "-A", "-o", "wide"),
            ("-n", SYSTEM, "get", "leases", "-o", "yaml"),
            ("-n", SYSTEM, "logs", "deployment/gpu-relay", "--tail=60"),
            ("-n", SYSTEM, "logs", "deployment/sam3", "--tail=40"),
        ]
        return "\n\n".join(self._try(*part) for part in parts)

    def _try(self, *arguments: str) -> str:
        try:
            return f"$ kubectl {' '.join(arguments)}\n{self.kubectl(*arguments)}"
        except ClusterError as error:
            return str(error)
