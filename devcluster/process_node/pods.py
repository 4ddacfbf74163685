"""The life of one pod on this node.

bound ──► volumes ──► init containers, in order ──► containers, side by side ──► over ──deleted──► forgotten
             └── whatever is ordered meanwhile (deletion, deadline, the node's end): SIGTERM, grace, SIGKILL ──┘
"""

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp

from devcluster.process_node import support
from devcluster.process_node.environment import Facts, Kind, references
from devcluster.process_node.launch import Launch, Place, pod_address
from devcluster.process_node.mounts import Mounts
from devcluster.process_node.resources import POD_STATUS
from devcluster.process_node.runner import ContainerRunner, Ending, Surroundings
from devcluster.process_node.settings import HOST_IP, NodeSettings
from devcluster.process_node.status import NEVER, ON_FAILURE, ContainerState, PodState, Waiting, recovered, timestamp
from devcluster.process_node.volumes import PodVolumes, VolumeError
from gpu_relay.clients.kube import Kube, KubeError
from gpu_relay.clients.resources import PODS

Object = dict[str, Any]
logger = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0
_REFRESH_SECONDS = 30.0
#: Seconds left to a pod whose object was removed by force, as on a kubelet.
_FORCED_GRACE = 1.0
_DEADLINE_EXCEEDED = "Pod was active on the node longer than the specified deadline"


@dataclass(frozen=True)
class Services:
    """What pods share on a node."""

    settings: NodeSettings
    kube: Kube
    session: aiohttp.ClientSession
    server: str
    """URL of the API server."""
    authority: bytes
    """The API server's certificate authority (PEM)."""


class PodWorker:
    """Runs one pod from its binding to its removal from the API."""

    def __init__(self, services: Services, pod: Object) -> None:
        settings = services.settings
        self.pod = pod
        self._services = services
        self._uid: str = pod["metadata"]["uid"]
        self._path = PODS.path(pod["metadata"]["namespace"], pod["metadata"]["name"])
        self._status_path = POD_STATUS.path(pod["metadata"]["namespace"], pod["metadata"]["name"])
        host_network = pod["spec"].get("hostNetwork", False)
        facts = Facts(settings.name, HOST_IP if host_network else pod_address(self._uid), HOST_IP)
        self.place = Place(settings, facts, services.server, services.authority)
        self._volumes = PodVolumes(services.kube, self.place.folder(pod), facts, self.place.keep)
        self._mounts: Mapping[str, Mounts] = {}
        self.state = _state(pod, facts)
        self._published: Object = {}
        self._runners: list[ContainerRunner] = []
        self._ending = Ending()
        self._changed, self._observed, self._farewell = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._exists = True
        self._leaving = False
        self._deadline_exceeded = False
        self._finished = False
        self._grace: float = pod["spec"].get("terminationGracePeriodSeconds", 30)

    def observe(self, pod: Object) -> None:
        """Take note of the newest version of the pod's object."""
        self.pod = pod
        self.state.generation = pod["metadata"].get("generation", 0)
        self._observed.set()
        self._changed.set()
        if pod["metadata"].get("deletionTimestamp"):
            self._end(pod["metadata"].get("deletionGracePeriodSeconds", self._grace))
            self._farewell.set()

    def vanish(self) -> None:
        """Take note that the pod's object is gone already."""
        self._exists = False
        self._end(_FORCED_GRACE)
        self._farewell.set()

    def leave(self, grace: float) -> None:
        """End the pod's processes because the node ends; its object and its files stay."""
        self._leaving = True
        self._end(min(grace, self._grace))
        self._farewell.set()

    async def run(self) -> None:
        """Live the pod's life; returns when nothing of it is left to do."""
        self.observe(self.pod)
        tasks = [
            asyncio.create_task(work) for work in (self._publish_changes(), self._refresh(), self._keep_deadline())
        ]
        try:
            await self._live()
            if self._deadline_exceeded:
                self.state.reason, self.state.message = "DeadlineExceeded", _DEADLINE_EXCEEDED
            self._finished = True
            self._changed.set()
            await self._farewell.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._say_goodbye()

    def _end(self, grace: float) -> None:
        grace = self._ending.order(grace)
        for runner in self._runners:
            runner.stop(grace)

    async def _live(self) -> None:
        if self.pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            return
        self.state.message = support.unsupported(self.pod)
        if self.state.message:
            self.state.reason = "UnsupportedByProcessNode"
            return
        if await self._mount_volumes() and await self._initialize():
            await self._run_all()

    async def _mount_volumes(self) -> bool:
        while not self._ending:
            try:
                self._mounts = await self._volumes.mount(self.pod)
            except (VolumeError, OSError) as error:
                self._wait_for(Waiting("ContainerCreating", f"FailedMount: {error}"))
                await self._ending.pause(_RETRY_SECONDS)
            else:
                return True
        return False

    def _wait_for(self, waiting: Waiting) -> None:
        for state in self.state.mains:
            if isinstance(state.now, Waiting):
                state.now = waiting
        self._changed.set()

    async def _initialize(self) -> bool:
        policy = NEVER if self.state.restart_policy == NEVER else ON_FAILURE
        if self.state.inits:
            self._wait_for(Waiting("PodInitializing"))
        for spec, state in zip(self.pod["spec"].get("initContainers", []), self.state.inits, strict=True):
            if not await self._runner(spec, state, policy).run():
                return False
            state.ready = True
        self._wait_for(Waiting("ContainerCreating"))
        return not self._ending

    async def _run_all(self) -> None:
        pairs = zip(self.pod["spec"]["containers"], self.state.mains, strict=True)
        runners = [self._runner(spec, state, self.state.restart_policy) for spec, state in pairs]
        await asyncio.gather(*(runner.run() for runner in runners))

    def _runner(self, spec: Object, state: ContainerState, policy: str) -> ContainerRunner:
        settings = self._services.settings
        around = Surroundings(
            self._launch,
            self._changed.set,
            self._ending,
            self._services.session,
            self.state.ip,
            settings.restart_delay,
            self._grace,
        )
        runner = ContainerRunner(spec, state, policy, around)
        self._runners.append(runner)
        return runner

    async def _launch(self, container: Object, restart: int) -> Launch:
        namespace = self.pod["metadata"]["namespace"]
        sources: dict[tuple[Kind, str], dict[str, str] | None] = {}
        for kind, name in references(container):
            sources[kind, name] = await self._volumes.data(namespace, kind, name)
        return self.place.launch(self.pod, container, self._mounts[container["name"]], sources, restart)

    async def _refresh(self) -> None:
        """Keep files up to date: annotations and ConfigMaps that changed, tokens that age."""
        while True:
            self._observed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REFRESH_SECONDS):
                    await self._observed.wait()
            if not self._mounts or self._ending:
                continue
            try:
                await self._volumes.mount(self.pod)
            except (VolumeError, OSError) as error:
                logger.warning("%s: volumes were not refreshed: %s", self._path, error)

    async def _keep_deadline(self) -> None:
        limit = self.pod["spec"].get("activeDeadlineSeconds")
        if limit is None:
            return
        await asyncio.sleep(max(0.0, limit - (datetime.now(UTC) - self.state.started).total_seconds()))
        self._deadline_exceeded = not self._ending
        self._end(self._grace)

    async def _publish_changes(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._publish()
            except KubeError as error:
                if error.status in (404, 409):
                    return  # the object is gone, or another of its name is there: the watch will say so
                logger.warning("%s: status not written: %s", self._path, error)
                self._changed.set()
                await asyncio.sleep(_RETRY_SECONDS)

    async def _publish(self) -> None:
        status = self.state.as_object(datetime.now(UTC))
        if status["phase"] in ("Succeeded", "Failed") and not self._finished:
            return  # as on a kubelet, the last phase comes with its reason, when nothing of the pod runs any more
        if status != self._published:
            body = {"metadata": {"uid": self._uid}, "status": status}
            await self._services.kube.strategic_merge(self._status_path, body)
            self._published = status

    async def _say_goodbye(self) -> None:
        """Write the last status, and let the object go if its deletion waits for that."""
        while True:
            try:
                await self._publish()
                if self._exists and not self._leaving:
                    await self._services.kube.delete(self._path, uid=self._uid, grace=0)
                break
            except KubeError as error:
                # a node that leaves does not wait for an API server that may have left before
                if error.status in (404, 409) or self._leaving:
                    break
                logger.warning("%s: last status not written: %s", self._path, error)
                await asyncio.sleep(_RETRY_SECONDS)
        if not self._leaving:
            shutil.rmtree(self.place.folder(self.pod), ignore_errors=True)


def _state(pod: Object, facts: Facts) -> PodState:
    status, now = pod.get("status", {}), datetime.now(UTC)
    return PodState(
        pod["spec"].get("restartPolicy", "Always"),
        _recovered(pod["spec"].get("initContainers", []), status.get("initContainerStatuses", []), now),
        _recovered(pod["spec"]["containers"], status.get("containerStatuses", []), now),
        facts.pod_ip,
        facts.host_ip,
        datetime.fromisoformat(status.get("startTime") or timestamp(now)),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        conditions=status.get("conditions", []),
    )


def _recovered(specs: list[Object], statuses: list[Object], now: datetime) -> list[ContainerState]:
    known = {status["name"]: status for status in statuses}
    return [recovered(spec, known.get(spec["name"]), now) for spec in specs]
