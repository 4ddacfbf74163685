"""A simulated Job, whose controller may be late without a limit, and the node that takes its pods by a label."""

from dataclasses import replace
from datetime import UTC, datetime

from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.quantities import timestamp
from gpu_relay.domain.turn.workload_turn import PIN_SETTLES
from tests.support import builders
from tests.support.builders import FREE_MIB


class SimulatedJob:
    """A Job with one pod at a time, the label of its node, and the scheduler."""

    def start_job(self) -> None:
        """Begin suspended, without pods."""
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.number, self.version = 1, 1
        """Of the Workload: which one of its name it is, and its version."""
        self.pods: dict[str, TrainingPod] = {}
        self.turns: dict[str, frozenset[tuple[str, int]]] = {}
        """The turns that each pod is pinned to."""
        self.runs = False
        """True while the Job is not suspended."""
        self.pin: tuple[frozenset[tuple[str, int]], str] = (frozenset(), "")
        """Turns and UID in the metadata of the Job's template."""
        self.has_stopped = False
        """True while the Job controller may not have seen that the Job is suspended or deleted."""
        self.label: frozenset[tuple[str, int]] = frozenset()
        """The label of the node: the turns whose pods it takes."""
        self.unlabelled: dict[frozenset[tuple[str, int]], datetime] = {}
        """When the node lost a label; the scheduler and the kubelet may not have seen that yet."""

    def live(self) -> list[TrainingPod]:
        """Return the live pods that are on the node."""
        return [pod for pod in self.pods.values() if pod.live and pod.node]

    def schedule(self) -> None:
        """Place the pods that the node takes."""
        for pod in self.pods.values():
            if pod.live and not pod.deleting and self.takes(self.turns[pod.name]):
                self.pods[pod.name] = replace(pod, node="node-1")

    def takes(self, turns: frozenset[tuple[str, int]]) -> bool:
        """Return whether the node has the label of these turns, or had it until a moment ago."""
        removed = self.unlabelled.get(turns)
        return turns == self.label or (removed is not None and (self.now - removed).total_seconds() < PIN_SETTLES)

    def takes_pods(self) -> bool:
        """Return whether the node takes pods of any turn."""
        return bool(self.label) or any(map(self.takes, self.unlabelled))

    def has_pod(self) -> bool:
        """Return whether the Job has a pod that has not ended, on a node or not."""
        return any(pod.live for pod in self.pods.values())

    def remove_label(self) -> None:
        """Take the label from the node."""
        if self.label:
            self.unlabelled[self.label], self.label = self.now, frozenset()

    def stop_job(self) -> None:
        if self.runs:
            self.runs, self.has_stopped = False, True

    def create_pod(self) -> None:
        """Create the Job's pod with the labels of its template, as the Job controller does."""
        turns, uid = self.pin
        gpu, fence = min(turns)
        name = f"job-{len(self.pods)}-{self.version}-{int(self.now.timestamp())}"
        pod = builders.pod(
            name=name, uid=name, job_uid="", gpu=gpu, fence=fence, node="",
            created=timestamp(self.now),
        )  # fmt: skip
        self.pods[name] = replace(pod, workload_uid=uid, proven_mib=FREE_MIB)
        self.turns[name] = turns
        self.schedule()
