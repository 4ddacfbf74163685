"""The page docs/tour.md, section by section, and the cluster in which its jobs reach their states."""

from devcluster import Cluster
from devcluster.scripted.manifests import Object
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.trainer import ScriptedTrainer
from devcluster.scripted.world import World
from devcluster.waiting import eventually

NAMESPACE = "vision"
NODE = "node-1"
_INTRODUCTION = """# A tour of a job's states

The output of `kubectl` for a job in each of its states, and what you can do. `make tour` writes this page: it brings
jobs into these states on a real control plane and records the output. For the rules, see
[Life of a job](life-of-a-job.md).
"""


class Tour:
    """The cluster in which jobs reach their states, and the page that grows."""

    def __init__(self, cluster: Cluster, world: World, resident: ScriptedResident, trainer: ScriptedTrainer) -> None:
        self._cluster = cluster
        self.world = world
        self.resident = resident
        self.trainer = trainer
        self.page = [_INTRODUCTION]

    def show(self, title: str, sentence: str, job: str, *, spec: bool = False, wide: bool = False) -> None:
        """Write a section: the table, and the description of one job, without its spec unless asked for."""
        table = ("get", "ytj", "-o", "wide") if wide else ("get", "ytj")
        self.page.append(f"## {title}\n\n{sentence}\n\n```console")
        self.page.append(self._kubectl(*table))
        self.page.append(_shorten(self._kubectl("describe", "ytj", job), spec=spec) + "```\n")

    def schedules(self, pod: str) -> None:
        """Wait until the scheduler has put a pod on the GPU's node."""
        self.world.set_node(NODE, "True", "kubelet is posting ready status")
        eventually(lambda: self.world.node_of(pod) == NODE, f"a node for {pod}")

    def trains(self, pod: str) -> None:
        """Run a training pod, with a trainer that reports progress."""
        self.schedules(pod)
        self.world.run_pod(pod, ip=self.trainer.ip)
        job = pod.rsplit("-", 1)[0]
        eventually(lambda: self.world.job(job)["status"].get("progress"), f"progress of {pod}")

    def condition(self, job: str, reason: str) -> Object:
        """Wait until a job waits for a reason."""
        return eventually(lambda: self.world.waits_for(job, reason), f"{job} to be {reason}")

    def end(self, job: str, reason: str) -> None:
        """Wait until the last Event of a job is published."""
        eventually(lambda: reason in self.world.events(job), f"the Event {reason} of {job}")

    def clear(self) -> None:
        """Delete all jobs, and wait until the resident owns the GPU."""
        faults = self.resident.faults
        faults.leak_mib, faults.load, self.resident.trainer_mib = 0, "", 0
        path = f"/apis/gpurelay.dev/v1alpha1/namespaces/{NAMESPACE}/yolotrainingjobs"
        self.world.api.delete(path).raise_for_status()
        for pod in self.world.pod_names():
            self.world.api.request(
                "DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}", json={"gracePeriodSeconds": 0}
            )
        eventually(lambda: not self.world.pod_names() and self.world.no_reload_pending(), "the resident to own the GPU")

    def _kubectl(self, *arguments: str) -> str:
        printed = self._cluster.kubectl("-n", NAMESPACE, *arguments)
        return f"$ kubectl -n {NAMESPACE} {' '.join(arguments)}\n{printed}"


def _shorten(described: str, *, spec: bool) -> str:
    """Leave out the spec, which the reader has written, unless asked for."""
    command, _, rest = described.partition("\n")
    head, _, tail = rest.partition("\nSpec:\n")
    wanted, _, status = tail.partition("\nStatus:\n")
    names = "\n".join(line for line in head.splitlines() if line.startswith(("Name:", "Namespace:", "API", "Kind:")))
    middle = f"\nSpec:\n{wanted}" if spec else ""
    return f"{command}\n{names}{middle}\nStatus:\n{status}"
