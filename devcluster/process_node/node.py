"""The node: registered, kept alive by its Lease, and one worker for each pod that is bound to it."""

import asyncio
import logging
import os
import platform
import shutil
import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from devcluster.process_node.pods import PodWorker, Services
from devcluster.process_node.resources import NODE_STATUS
from devcluster.process_node.settings import HOST_IP, MARK, NodeSettings
from devcluster.process_node.status import timestamp
from devcluster.processes import ProcessId, end_processes, marked
from gpu_relay.clients.kube import KubeError
from gpu_relay.clients.resources import LEASES, NODES, PODS

Object = dict[str, Any]
logger = logging.getLogger(__name__)
_LEASE_SECONDS = 40
_RENEW_SECONDS = 10.0
_RETRY_SECONDS = 1.0
_WATCH_SECONDS = 240
#: Pods get this long, in seconds, when the node is asked to end.
_LEAVE_GRACE = 10.0


class ProcessNode:
    """Runs the pods of one node until it is asked to end."""

    def __init__(self, services: Services, log_port: int) -> None:
        self._services = services
        self._settings = services.settings
        self._log_port = log_port
        self.workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self, leave: asyncio.Event) -> None:
        """Register and serve until `leave` is set; then end every process."""
        await self._retry("register", self._register)
        logger.info("node %s is registered; its files are in %s", self._settings.name, self._settings.run_dir)
        duties = [asyncio.create_task(duty) for duty in (self._heartbeat(), self._follow_pods())]
        leaving = asyncio.create_task(leave.wait())
        try:
            await asyncio.wait([leaving, *duties], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (leaving, *duties):
                task.cancel()
            results = await asyncio.gather(*duties, return_exceptions=True)
            await self._leave()
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _leave(self) -> None:
        for worker in self.workers.values():
            worker.leave(_LEAVE_GRACE)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _register(self) -> None:
        node = node_object(self._settings, self._log_port, datetime.now(UTC))
        try:
            await self._services.kube.create(NODES.path(None), {key: node[key] for key in node if key != "status"})
        except KubeError as error:
            if error.status != 409:
                raise
        await self._write_status()
        await self._renew()

    async def _write_status(self) -> None:
        node = node_object(self._settings, self._log_port, datetime.now(UTC))
        path = NODE_STATUS.path(None, self._settings.name)
        await self._services.kube.strategic_merge(path, {"status": node["status"]})

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            await self._retry("heartbeat", self._beat)

    async def _beat(self) -> None:
        try:
            await self._write_status()
            await self._renew()
        except KubeError as error:
            if error.status != 404:
                raise
            await self._register()

    async def _renew(self) -> None:
        name, leases = self._settings.name, LEASES.path("kube-node-lease")
        renewed = {"renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
        try:
            await self._services.kube.merge(f"{leases}/{name}", {"spec": renewed})
        except KubeError as error:
            if error.status != 404:
                raise
            spec = {"holderIdentity": name, "leaseDurationSeconds": _LEASE_SECONDS, **renewed}
            await self._services.kube.create(leases, {"metadata": {"name": name}, "spec": spec})

    async def _retry(self, what: str, work: Any) -> None:
        while True:
            try:
                await work()
            except KubeError as error:
                logger.warning("%s: %s", what, error)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _follow_pods(self) -> None:
        kube, fields = self._services.kube, f"spec.nodeName={self._settings.name}"
        while True:
            try:
                pods, version = await kube.list_with_version(PODS.path(None), fields=fields)
                self._replace(pods)
                while True:
                    changes = kube.watch(PODS.path(None), version=version, seconds=_WATCH_SECONDS, fields=fields)
                    async for kind, pod in changes:
                        version = pod["metadata"]["resourceVersion"]
                        self._note(kind, pod)
            except KubeError as error:
                if error.status != 410:
                    logger.warning("pods: %s", error)
                    await asyncio.sleep(_RETRY_SECONDS)

    def _replace(self, pods: Sequence[Object]) -> None:
        """Take note of a whole list: what is not in it is gone."""
        present = {pod["metadata"]["uid"] for pod in pods}
        for uid in self.workers.keys() - present:
            self.workers[uid].vanish()
        remove_strangers(self._settings.pods, present | self.workers.keys())
        for pod in pods:
            self._note("MODIFIED", pod)

    def _note(self, kind: str, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        worker = self.workers.get(uid)
        if kind == "DELETED":
            if worker:
                worker.vanish()
        elif worker:
            worker.observe(pod)
        else:
            self.workers[uid] = PodWorker(self._services, pod)
            self._tasks[uid] = asyncio.create_task(self._work(uid))

    async def _work(self, uid: str) -> None:
        worker = self.workers[uid]
        metadata = worker.pod["metadata"]
        name = f"{metadata['namespace']}/{metadata['name']}"
        logger.info("pod %s: begins at %s", name, worker.state.ip)
        try:
            await worker.run()
            logger.info("pod %s: has ended", name)
        except Exception:
            logger.exception("pod %s: its worker failed", name)
        finally:
            self.workers.pop(uid, None)
            self._tasks.pop(uid, None)


def node_object(settings: NodeSettings, log_port: int, now: datetime) -> Object:
    """Return the Node as the API should have it."""
    labels = {
        "kubernetes.io/hostname": settings.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        "gpurelay.dev/node": "process",
    }
    memory_kib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
    capacity = {"cpu": str(os.cpu_count()), "memory": f"{memory_kib}Ki", "pods": "110"}
    if settings.gpus:
        capacity["nvidia.com/gpu"] = str(settings.gpus)
    healthy = {
        "MemoryPressure": ("False", "KubeletHasSufficientMemory"),
        "DiskPressure": ("False", "KubeletHasNoDiskPressure"),
        "PIDPressure": ("False", "KubeletHasSufficientPID"),
        "Ready": ("True", "KubeletReady"),
    }
    moment = timestamp(now)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": settings.name, "labels": labels},
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "addresses": [
                {"type": "InternalIP", "address": HOST_IP},
                {"type": "Hostname", "address": settings.name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": log_port}},
            "nodeInfo": _node_info(labels["kubernetes.io/arch"]),
            "conditions": [
                {"type": kind, "status": status, "reason": reason, "lastHeartbeatTime": moment}
                for kind, (status, reason) in healthy.items()
            ],
        },
    }


def _node_info(architecture: str) -> Object:
    unknown = dict.fromkeys(("machineID", "systemUUID", "kubeProxyVersion"), "")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return {
        **unknown,
        "bootID": boot,
        "architecture": architecture,
        "operatingSystem": "linux",
        "kernelVersion": platform.release(),
        "osImage": "processes of this machine",
        "containerRuntimeVersion": "process://1",
        "kubeletVersion": "v1.36.0-process-node",
    }


def remove_strangers(pods: Path, uids: set[str]) -> None:
    """Remove the folders of pods that are on this node no more."""
    known = {uid[:8] for uid in uids}
    for folder in pods.glob("*"):
        if folder.name not in known:
            shutil.rmtree(folder, ignore_errors=True)


def end_strays(run_dir: Path) -> list[ProcessId]:
    """Kill what an earlier life of this node left behind; returns what that was.

    Shims die with their node, but a shim that was itself killed cannot end what it watched over.
    """
    found = marked(run_dir, MARK)
    end_processes(found, signal.SIGKILL, 10.0)
    return found
