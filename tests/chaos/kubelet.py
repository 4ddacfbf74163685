"""A kubelet that hears of pods at once: it binds, runs and ends them, stops them when told, and books their memory."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tests.chaos.api import Api, ApiError, Object
from tests.support.scripted_resident import ScriptedResident
from tests.support.world import container

_START = 0.03
_CHECKPOINT = 0.4
"""Seconds that a training which is told to stop goes on to hold its memory."""
_HEARTBEAT = 5.0
_EXITS = {"Completed": 0, "Interrupted": 143, "GpuMemoryUnavailable": 10, "Killed": 137}


class Kubelet:
    """Runs every training pod of a namespace for `seconds`; a trainer checks its memory first, as the real one does."""

    def __init__(self, api: Api, namespace: str, residents: Mapping[str, ScriptedResident], seconds: float) -> None:
        """`residents` by GPU: the pods' memory is booked beside theirs."""
        self._api = api
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._residents = residents
        self._seconds = seconds
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._stop: dict[str, asyncio.Future[str]] = {}
        self.overbooked: list[str] = []
        """Trainings that took more memory than there was."""

    async def run(self) -> None:
        """Work until cancelled."""
        query = {"labelSelector": "gpurelay.dev/job"}
        listed = await self._api.get(self._pods, **query)
        for pod in listed["items"]:
            self._see("ADDED", pod)
        try:
            async for kind, pod in self._api.watch(self._pods, listed["metadata"]["resourceVersion"], **query):
                self._see(kind, pod)
        finally:
            for task in self._runs.values():
                task.cancel()

    def kill(self) -> None:
        """Kill every trainer that runs now: SIGKILL, no last word."""
        self._end_all("Killed")

    def _end_all(self, reason: str) -> None:
        for stop in self._stop.values():
            if not stop.done():
                stop.set_result(reason)

    def _see(self, kind: str, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        if kind != "DELETED" and uid not in self._runs:
            self._stop[uid] = asyncio.get_running_loop().create_future()
            self._runs[uid] = asyncio.create_task(self._run(pod))
        stop = self._stop[uid]
        if (kind == "DELETED" or "deletionTimestamp" in pod["metadata"]) and not stop.done():
            stop.set_result("Interrupted")

    async def _run(self, pod: Object) -> None:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        stop = self._stop[uid]
        try:
            await self._bind(name)
            await asyncio.wait([stop], timeout=_START)
            reason = await self._train(pod, stop)
            if await self._set(name, _ended(reason)):
                await stop if not stop.done() else None
                await self._gone(name, uid)
        except ApiError as error:
            if error.status not in {404, 409}:
                raise

    async def _train(self, pod: Object, stop: "asyncio.Future[str]") -> str:
        """Hold the memory for as long as the training takes; return why it ended."""
        if stop.done():
            return stop.result()
        name, labels = pod["metadata"]["name"], pod["metadata"]["labels"]
        resident = self._residents.get(labels.get("gpurelay.dev/gpu", ""))
        need = json.loads(pod["metadata"]["annotations"]["gpurelay.dev/job"])["gpu"]["memoryMiB"]
        if resident is not None and resident.report()["free_mib"] < need:
            return "GpuMemoryUnavailable"
        await self._set(name, {"phase": "Running", "containerStatuses": [container({"running": {}})]})
        if resident is not None:
            resident.trainer_mib += need
            if resident.report()["free_mib"] < 0:
                self.overbooked.append(name)
        try:
            await asyncio.wait([stop], timeout=self._seconds)
            if stop.done() and stop.result() == "Interrupted":
                await asyncio.sleep(_CHECKPOINT)
        finally:
            if resident is not None:
                resident.trainer_mib -= need
        return stop.result() if stop.done() else "Completed"

    async def _bind(self, name: str) -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": "node-1"}
        await self._api.post(f"{self._pods}/{name}/binding", {"metadata": {"name": name}, "target": target})

    async def _set(self, name: str, status: Object) -> bool:
        try:
            await self._api.patch(f"{self._pods}/{name}/status", {"status": status})
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def _gone(self, name: str, uid: str) -> None:
        """Confirm that a deleted pod's containers have ended."""
        pod = await self._api.find(f"{self._pods}/{name}")
        if pod is not None and pod["metadata"]["uid"] == uid and "deletionTimestamp" in pod["metadata"]:
            await self._api.delete(f"{self._pods}/{name}", gracePeriodSeconds=0, preconditions={"uid": uid})


async def keep_nodes_ready(api: Api, *names: str) -> None:
    """Say again and again that nodes are well, as their kubelets would."""
    while True:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ready: dict[str, Any] = {
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status",
            "lastHeartbeatTime": now,
        }  # fmt: skip
        for name in names:
            await api.patch(f"/api/v1/nodes/{name}/status", {"status": {"conditions": [ready]}})
        await asyncio.sleep(_HEARTBEAT)


def _ended(reason: str) -> Object:
    code = _EXITS[reason]
    word = json.dumps({"reason": reason, "message": f"said {reason}"}) if reason != "Killed" else ""
    state = {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "message": word}
    return {"phase": "Succeeded" if code == 0 else "Failed", "containerStatuses": [container({"terminated": state})]}
