"""A kubelet in a thread: it runs every training pod for a while and ends it as the test has written for its job."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from devcluster.background import Background
from devcluster.scripted.manifests import Object
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World

_PERIOD = 0.1
_GPU = "gpurelay.dev/gpu"
"""The label of training pods. Preparing pods have none."""
_PREPARED = {"seconds": 1.0, "bytes": 0, "images": {"train": 3, "val": 1}}
_EXIT_CODES = {"Completed": 0, "OutOfMemory": 12, "DatasetInvalid": 13, "Error": 1}


class ScriptedKubelet(Background):
    """Runs pods for the length of a `with` block; a stopped training run resumes where it ended."""

    def __init__(
        self,
        world: World,
        residents: Sequence[ScriptedResident],
        *,
        seconds: float,
        lengths: Mapping[str, float] | None = None,
        ends: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Train for `seconds` where `lengths` says nothing of a job; `ends` are reasons of its first attempts' ends."""
        super().__init__()
        self._world = world
        self._residents = {resident.uuid.lower(): resident for resident in residents}
        self._seconds, self._lengths, self._ends = seconds, lengths or {}, ends or {}
        self._left: dict[str, float] = {}
        self._started: dict[str, float] = {}
        self.order: list[str] = []
        """Names of the pods in the order in which they started."""
        self.violations: list[str] = []
        """What broke law 2, as seen from outside: two training pods on a GPU, or one beside a loaded resident."""

    def _run(self) -> None:
        while not self._over.wait(_PERIOD):
            with suppress(AssertionError):  # the API server refused: the pod has gone in the meantime
                self._look()

    def _look(self) -> None:
        loaded = {uuid for uuid, resident in self._residents.items() if resident.loaded}
        every = {pod["metadata"]["name"]: pod for pod in self._world.training_pods()}
        pods = {name: pod for name, pod in every.items() if _GPU in pod["metadata"]["labels"]}
        self._prepare({name: pod for name, pod in every.items() if name not in pods})
        self._watch([pod for pod in pods.values() if _is_live(pod)], loaded)
        for name in set(self._started) - set(pods):
            self._left[_job(name)] = self._time_left(name)
            del self._started[name]
        for name, pod in pods.items():
            phase = pod["status"].get("phase", "Pending")
            if phase == "Pending":
                self._started[name] = time.monotonic()
                self.order.append(name)
                self._world.run_pod(name)
            elif phase == "Running" and self._time_left(name) <= 0:
                self._end(name)
        for uuid, resident in self._residents.items():
            resident.trainer_mib = sum(_is_live(pod) and _gpu(pod) == uuid for pod in pods.values())

    def _watch(self, running: list[Object], loaded: set[str]) -> None:
        """Note violations. `running` pods were started by an earlier look, so before `loaded` was read."""
        for uuid in self._residents:
            names = [pod["metadata"]["name"] for pod in running if _gpu(pod) == uuid]
            beside = uuid in loaded and any(not _shares(pod) for pod in running if _gpu(pod) == uuid)
            if len(names) > 1 or beside:
                self.violations.append(f"{uuid}: {names}, resident {'loaded' if uuid in loaded else 'unloaded'}")

    def _prepare(self, pods: Mapping[str, Object]) -> None:
        """Start and end preparing pods, which have no GPU, at once."""
        for name, pod in pods.items():
            if pod["status"].get("phase", "Pending") == "Pending":
                self._world.run_pod(name)
            elif _is_live(pod):
                self._world.end_pod(name, prepared=_PREPARED)

    def _end(self, name: str) -> None:
        reasons, attempt = self._ends.get(_job(name), ()), int(name.rsplit("-", 1)[1])
        reason = reasons[attempt - 1] if attempt <= len(reasons) else "Completed"
        self._world.end_pod(name, reason, _EXIT_CODES[reason])
        self._started.pop(name, None)

    def _time_left(self, name: str) -> float:
        total = self._left.get(_job(name), self._lengths.get(_job(name), self._seconds))
        return total - (time.monotonic() - self._started.get(name, time.monotonic()))


def _job(pod: str) -> str:
    return pod.rsplit("-", 1)[0]


def _gpu(pod: Object) -> str:
    return str(pod["metadata"]["labels"][_GPU])


def _shares(pod: Object) -> bool:
    return bool(pod["metadata"]["labels"].get("gpurelay.dev/sharing") == "coresident")


def _is_live(pod: Object) -> bool:
    return bool(pod["status"].get("phase") == "Running")
