"""The process node as a process of its own, and the pods of one namespace on it."""

import json
import signal
import subprocess
import sys
from typing import Any

from devcluster import Cluster, ClusterError, paths
from devcluster.process_node.settings import MARK
from devcluster.processes import marked
from devcluster.waiting import eventually

Object = dict[str, Any]
PYTHONPATH = f"{paths.REPOSITORY}/images/common"
SERVER = "import http.server as h, os; h.test(h.SimpleHTTPRequestHandler, port=8000, bind=os.environ['BIND_ADDRESS'])"
BOOK = """
import gpu_memory, os, time
with gpu_memory.open_device().reserve(int(os.environ["MIB"])):
    print("booked", flush=True)
    time.sleep(600)
"""


class Node:
    """The node's own process, on a control plane of this module's own: a node that takes pods would disturb others."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.run_dir = cluster.run_dir / "node"
        self.log = cluster.run_dir / "node.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "devcluster.process_node", "--node-name", self.cluster.node_name]
        options = {
            "--kubeconfig": self.cluster.run_dir / "node.kubeconfig",
            "--run-dir": self.run_dir,
            "--ledger": self.cluster.ledger,
            "--restart-delay": 1,
        }
        flat = [str(part) for pair in options.items() for part in pair]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([*command, *flat], cwd=paths.REPOSITORY, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def end(self, number: signal.Signals) -> int:
        """Send a signal, and return the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(timeout=30)

    def restart(self, number: signal.Signals) -> None:
        self.end(number)
        self.start()

    def pods_processes(self) -> set[int]:
        """Return the processes of all pods, by the node's mark in their environment."""
        return {process.pid for process in marked(self.run_dir, MARK)}


class Pods:
    """Pods of one namespace, through kubectl."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments, stdin=stdin)

    def create(self, *objects: Object) -> None:
        self.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def run(self, name: str, *command: str, container: Object | None = None, **spec: Any) -> None:
        """Create a pod with one container, which by default never restarts."""
        main = {"name": "main", "image": "example.com/some/image:1", "command": list(command), **(container or {})}
        body = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5, "containers": [main], **spec}
        self.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": body})

    def get(self, name: str) -> Object:
        return dict(json.loads(self.kubectl("get", "pod", name, "-o", "json")))

    def main(self, name: str) -> Object:
        """Return the status of the only container; empty while there is none."""
        return dict(self.get(name).get("status", {}).get("containerStatuses", [{}])[0])

    def until(self, name: str, phase: str) -> Object:
        def look() -> Object | None:
            pod = self.get(name)
            return pod if pod["status"].get("phase") == phase else None

        return eventually(look, f"pod {name} {phase}")

    def ended(self, name: str, phase: str = "Succeeded") -> Object:
        """Wait for the end, and return how the only container terminated."""
        status = self.until(name, phase)["status"]
        return dict(status["containerStatuses"][0]["state"]["terminated"])

    def gone(self, name: str) -> bool:
        return not self.kubectl("get", "pod", name, "--ignore-not-found", "-o", "name")

    def logs(self, name: str, *options: str) -> str:
        try:
            return self.kubectl("logs", name, *options)
        except ClusterError:
            return ""  # not started yet


def mounts(volume: str) -> list[Object]:
    """Return the mount of a volume at the folder of its name."""
    return [{"name": volume, "mountPath": f"/{volume}"}]


def book(pods: Pods, name: str, mib: int) -> None:
    """Run a pod that uses so much memory of the simulated GPU until it is deleted."""
    env = [{"name": "MIB", "value": str(mib)}, {"name": "PYTHONPATH", "value": PYTHONPATH}]
    gpu = {"limits": {"nvidia.com/gpu": "1"}}
    pods.run(name, "python", "-c", BOOK, container={"env": env, "resources": gpu})


def free_mib(cluster: Cluster) -> int:
    """Return the free memory of the simulated GPU."""
    done = subprocess.run(
        [sys.executable, "-m", "gpu_memory", "--json"],
        env={
            "PYTHONPATH": PYTHONPATH,
            "GPU_RELAY_SIMULATED_GPU": str(cluster.ledger),
            "LD_LIBRARY_PATH": f"{cluster.ledger}/lib",
        },
        capture_output=True,
        check=True,
    )
    return int(json.loads(done.stdout)["free_mib"])
