"""A kubelet that sees pods immediately: it runs and ends them, stops them on request, and books their memory.

The scheduler binds the pods. Their PVCs exist and are bound, unless an event leaves one out.
"""

import asyncio
import json

from devcluster.scripted.manifests import container
from devcluster.scripted.resident import ScriptedResident
from gpu_relay.clients.kube import KubeError, Object
from gpu_relay.domain.quantities import memory_mib
from tests.chaos.api import Api
from tests.chaos.placements import placements_of
from tests.chaos.plain_jobs import JOB_NAME
from tests.chaos.residents import Residents

TRAINER = "trainer"
SIDECAR_ENDS = "chaos/sidecar"
"""Annotation of a pod with a second container: how that one ends, `crashes` or `outlives` the trainer."""
HANGS = "hangs-"
"""Preparations of jobs whose names begin so never end."""
_START = 0.03
_PREPARATION = 0.2
_CRASH = 0.2
_EXITS = {"Completed": 0, "Interrupted": 143, "GpuMemoryUnavailable": 10, "WrongGpu": 11, "Killed": 137}


class Kubelet:
    """Runs every training pod of a namespace for `seconds`; a trainer checks its GPU first, as the real one does."""

    def __init__(self, api: Api, namespace: str, residents: Residents, seconds: float) -> None:
        """The pods' memory is booked beside the residents'."""
        self._api = api
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._residents = residents
        self._seconds = seconds
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._stop: dict[str, asyncio.Future[str]] = {}
        self._bound: dict[str, asyncio.Future[str]] = {}
        self.checkpoint = 0.4
        """Seconds for which a training pod that is asked to stop holds its memory."""
        self._jobs: dict[str, str] = {}
        self.killed: set[str] = set()
        """Jobs whose trainers were killed."""
        self.overbooked: list[str] = []
        """Training pods that took more memory than was free."""
        self.misplaced: list[str] = []
        """Pods of plain Jobs that ran on another GPU than their labels name."""

    async def run(self, labels: str = "gpurelay.dev/job") -> None:
        """Run the pods with these labels until cancelled."""
        pods, version = await self._api.list_with_version(self._pods, labels=labels)
        for pod in pods:
            self._see("ADDED", pod)
        try:
            async for kind, pod in self._api.follow(self._pods, version, labels=labels):
                self._see(kind, pod)
        finally:
            for task in self._runs.values():
                task.cancel()

    def kill(self, node: str = "") -> None:
        """Kill the trainers on every node, or on one: SIGKILL, no last word. A pod that is not bound has none."""
        for uid, stop in self._stop.items():
            bound = self._bound[uid]
            if bound.done() and not stop.done() and node in {"", bound.result()}:
                stop.set_result("Killed")
                self.killed.add(self._jobs[uid])

    def _see(self, kind: str, pod: Object) -> None:
        uid, node = pod["metadata"]["uid"], pod["spec"].get("nodeName", "")
        if kind != "DELETED" and uid not in self._runs:
            loop = asyncio.get_running_loop()
            self._jobs[uid] = job_of(pod)
            self._stop[uid], self._bound[uid] = loop.create_future(), loop.create_future()
            self._runs[uid] = asyncio.create_task(self._run(pod))
        stop, bound = self._stop[uid], self._bound[uid]
        if node and not bound.done():
            bound.set_result(node)
        if (kind == "DELETED" or "deletionTimestamp" in pod["metadata"]) and not stop.done():
            stop.set_result("Interrupted")

    async def _run(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        stop, bound = self._stop[uid], self._bound[uid]
        try:
            await asyncio.wait([stop, bound], return_when=asyncio.FIRST_COMPLETED)
            if not bound.done():
                return
            await asyncio.wait([stop], timeout=_START)
            preparing = "gpurelay.dev/preparation" in pod["metadata"]["labels"]
            reason = await (self._prepare(pod, stop) if preparing else self._train(pod, bound.result(), stop))
            if await self._end(pod, reason, stop):
                await stop if not stop.done() else None
                await self._gone(pod)
        except KubeError as error:
            if error.status not in {404, 409}:
                raise

    async def _prepare(self, pod: Object, stop: "asyncio.Future[str]") -> str:
        """Run until the data is checked; return why it ended."""
        await self._set(pod, "Running", _running(pod))
        hangs = pod["metadata"]["labels"]["gpurelay.dev/job"].startswith(HANGS)
        await asyncio.wait([stop], timeout=None if hangs else _PREPARATION)
        return stop.result() if stop.done() else "Completed"

    async def _train(self, pod: Object, node: str, stop: "asyncio.Future[str]") -> str:
        """Hold the memory for as long as the training takes; return why it ended."""
        if stop.done():
            return stop.result()
        gpu, need = pod["metadata"]["labels"].get("gpurelay.dev/gpu", ""), _need(pod)
        at_node = self._residents.gpu_of_node.get(node, "")
        if JOB_NAME in pod["metadata"]["labels"]:  # its image knows nothing of GPU Relay, and checks nothing
            turns = [each.gpu for each in placements_of(pod["metadata"])]
            self.misplaced += [pod["metadata"]["name"]] if at_node not in turns else []
            gpu = at_node
        elif gpu in self._residents.devices and gpu != at_node:
            return "WrongGpu"
        elif any(resident.report()["free_mib"] < need for resident in self._sharing(gpu)):
            return "GpuMemoryUnavailable"
        await self._set(pod, "Running", _running(pod))
        self._book(gpu, need)
        if any(resident.report()["free_mib"] < 0 for resident in self._sharing(gpu)):
            self.overbooked.append(pod["metadata"]["name"])
        try:
            await self._until_the_end(pod, stop)
        finally:
            self._book(gpu, -need)
        return stop.result() if stop.done() else "Completed"

    async def _until_the_end(self, pod: Object, stop: "asyncio.Future[str]") -> None:
        left = self._seconds
        if _sidecar(pod) == "crashes":
            await asyncio.wait([stop], timeout=min(_CRASH, left))
            await self._set(pod, "Running", {TRAINER: {"running": {}}, **_ended_sidecar(pod, 1)})
            left = max(0.0, left - _CRASH)
        await asyncio.wait([stop], timeout=left)
        if stop.done() and stop.result() == "Interrupted":
            await asyncio.sleep(self.checkpoint)

    def _sharing(self, gpu: str) -> list[ScriptedResident]:
        return self._residents.devices.get(gpu, [])

    def _book(self, gpu: str, mib: int) -> None:
        for resident in self._sharing(gpu):
            resident.trainer_mib += mib

    async def _end(self, pod: Object, reason: str, stop: "asyncio.Future[str]") -> bool:
        """Report how the containers ended; False where the pod is gone."""
        trainer = {TRAINER: _ended(reason)}
        if _sidecar(pod) == "outlives" and not stop.done():
            if not await self._set(pod, "Running", {**_running(pod), **trainer}):
                return False
            await stop
        code = 1 if _sidecar(pod) == "crashes" else 143
        ended = {**trainer, **_ended_sidecar(pod, code)}
        good = all(state["terminated"]["exitCode"] == 0 for state in ended.values())
        return await self._set(pod, "Succeeded" if good else "Failed", ended)

    async def _set(self, pod: Object, phase: str, states: Object) -> bool:
        """Report a phase and the states of containers; False where the pod is gone, or another has its name."""
        meta = pod["metadata"]
        statuses = [{**container(state), "name": name} for name, state in sorted(states.items())]
        body = {"metadata": {"uid": meta["uid"]}, "status": {"phase": phase, "containerStatuses": statuses}}
        try:
            await self._api.merge(f"{self._pods}/{meta['name']}/status", body)
        except KubeError as error:
            if error.status in {404, 409}:
                return False
            raise
        return True

    async def _gone(self, pod: Object) -> None:
        """Confirm that a deleted pod's containers have ended."""
        path, uid = f"{self._pods}/{pod['metadata']['name']}", pod["metadata"]["uid"]
        now = await self._api.find(path)
        if now is not None and now["metadata"]["uid"] == uid and "deletionTimestamp" in now["metadata"]:
            await self._api.remove(path, gracePeriodSeconds=0, preconditions={"uid": uid})


def job_of(pod: Object) -> str:
    """Return the name of the job, or of the plain Job, that a pod belongs to; empty if unknown."""
    labels = pod["metadata"]["labels"]
    return str(labels.get("gpurelay.dev/job") or labels.get(JOB_NAME, ""))


def _need(pod: Object) -> int:
    """Return the MiB of GPU memory that a training pod takes; nothing for a preparing pod."""
    annotations = pod["metadata"]["annotations"]
    if JOB_NAME in pod["metadata"]["labels"]:
        return memory_mib(annotations["gpurelay.dev/gpu-memory"])
    asked = json.loads(annotations["gpurelay.dev/job"]).get("gpu") or {}
    return int(asked.get("memoryMiB", 0))


def trains(pod: Object) -> bool:
    """Return True while a training pod may hold memory: it has not ended, and neither has its trainer.

    The pod of a Job that is on no node holds none; that it finds none after its turn is for the scheduler to show.
    """
    if JOB_NAME in pod["metadata"].get("labels", {}) and not pod["spec"].get("nodeName"):
        return False
    status = pod.get("status", {})
    states = {each["name"]: each["state"] for each in status.get("containerStatuses", [])}
    return status.get("phase") not in {"Succeeded", "Failed"} and "terminated" not in states.get(TRAINER, {})


def with_sidecar(pod: Object, ends: str) -> Object:
    """Return a pod with a second container, which the kubelet names before the trainer."""
    pod["metadata"].setdefault("annotations", {})[SIDECAR_ENDS] = ends
    pod["spec"]["containers"].append({"name": "a-log-shipper", "image": "log-shipper"})
    return pod


def _sidecar(pod: Object) -> str:
    return str(pod["metadata"].get("annotations", {}).get(SIDECAR_ENDS, ""))


def _running(pod: Object) -> Object:
    return {each["name"]: {"running": {}} for each in pod["spec"]["containers"]}


def _ended_sidecar(pod: Object, code: int) -> Object:
    ended = {"terminated": {"exitCode": code, "reason": "Error"}}
    return {each["name"]: ended for each in pod["spec"]["containers"] if each["name"] != TRAINER}


def _ended(reason: str) -> Object:
    code = _EXITS[reason]
    word = json.dumps({"reason": reason, "message": f"said {reason}"}) if reason != "Killed" else ""
    return {"terminated": {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "message": word}}
