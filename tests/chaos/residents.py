"""The resident pods of one scenario: each a scripted resident behind a door of its own, at its pod's address."""

import errno
import itertools
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp

from devcluster.scripted.resident import ScriptedResident
from tests.chaos.api import Api
from tests.chaos.proxy import UNTOUCHED, Decider, Fate, Proxy

_doors = itertools.count(os.getpid() % 50_000)
_numbers = itertools.count()
_PORT = 8000


@dataclass(eq=False)
class ResidentPod:
    """One pod. Its scripted resident may serve again in the pod that follows it."""

    name: str
    node: str
    scripted: ScriptedResident
    proxy: Proxy
    silent_since: float | None = None
    """When it ceased to answer (monotonic, seconds); None while it answers."""

    @property
    def gpu(self) -> str:
        """Name of its GPU, as Leases and labels have it."""
        return self.scripted.uuid.lower()

    def fall_silent(self, fate: Fate) -> None:
        """Meet every call with this fate from now on."""
        self.silent_since = time.monotonic()
        self.proxy.event = lambda _: fate

    def answer_again(self) -> None:
        """Answer calls."""
        self.silent_since = None
        self.proxy.event = lambda _: None


class Residents:
    """Opens, replaces and removes resident pods; hears of each through `on_open`."""

    def __init__(self, api: Api, namespace: str, lends_to: str, upstream: aiohttp.ClientSession) -> None:
        """`lends_to` are the namespaces whose jobs may have the GPUs, separated by commas."""
        self._api = api
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._lends_to = lends_to
        self._upstream = upstream
        self._stack = AsyncExitStack()
        self.present: list[ResidentPod] = []
        self.gone: list[tuple[float, str]] = []
        """GPUs that no longer exist, each with the moment (monotonic, seconds) of its end."""
        self.on_open: Callable[[ResidentPod], None] = lambda _: None
        self.decide: Decider = lambda _: UNTOUCHED
        self.on_restart: Callable[[ScriptedResident], None] = lambda _: None
        self.devices: dict[str, list[ScriptedResident]] = {}
        """Every GPU that there was, with the residents that share it."""
        self.gpu_of_node: dict[str, str] = {}

    async def open(self, node: str, scripted: ScriptedResident | None = None, *, gpu: str = "") -> ResidentPod:
        """Create a running pod on a node: for a resident that serves already, or for a new one on this GPU."""
        if scripted is None:
            scripted = ScriptedResident(uuid=gpu)
        gpu = scripted.uuid.lower()
        if scripted not in self.devices.setdefault(gpu, []):
            self._stack.callback(scripted.close)
            self.devices[gpu].append(scripted)
        self.gpu_of_node[node] = gpu
        proxy = Proxy("", self._upstream, self._api.context)
        proxy.decide = self.decide
        name = f"sam3-{next(_numbers)}"
        address = await self._open_door(proxy, f"http://{scripted.ip}:8000")
        pod = ResidentPod(name, node, scripted, proxy)
        self.on_open(pod)
        meta = {
            "name": name,
            "labels": {"gpurelay.dev/resident": "sam3"},
            "annotations": {"gpurelay.dev/allowed-namespaces": self._lends_to},
        }
        spec = {"nodeName": node, "containers": [{"name": "sam3", "image": "gpu-relay/sam3"}]}
        await self._api.create(self._pods, {"metadata": meta, "spec": spec})
        self.present.append(pod)
        running = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        await self._api.merge(f"{self._pods}/{name}/status", {"status": running})
        return pod

    async def _open_door(self, proxy: Proxy, upstream: str) -> str:
        """Open a door at an address that no other process of this machine uses; return the address."""
        while True:
            place = next(_doors)
            address = f"127.10.{place // 250 % 250}.{place % 250 + 1}"
            try:
                await self._stack.enter_async_context(proxy.door("resident", upstream, address, _PORT))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return address

    async def remove(self, pod: ResidentPod) -> None:
        """Delete a pod immediately; its address stops answering."""
        self.present.remove(pod)
        pod.proxy.event = lambda _: Fate(lose_request=True)
        await self._api.remove(f"{self._pods}/{pod.name}", gracePeriodSeconds=0)

    def restart(self, scripted: ScriptedResident) -> None:
        """Begin a new process: nothing is loaded, nothing is promised."""
        self.on_restart(scripted)
        scripted.loaded, scripted.hold = False, None

    def rename_gpu(self, pod: ResidentPod, gpu: str) -> None:
        """Have a resident's next process, in the same pod, find a GPU with another UUID."""
        self.end_gpu(pod.scripted)
        self.restart(pod.scripted)
        pod.scripted.uuid = gpu
        self.devices[pod.gpu] = [pod.scripted]
        self.gpu_of_node[pod.node] = pod.gpu
        self.on_open(pod)

    def end_gpu(self, scripted: ScriptedResident) -> None:
        """Note that a GPU no longer exists."""
        gpu = scripted.uuid.lower()
        self.on_restart(scripted)
        self.gone.append((time.monotonic(), gpu))
        self.gpu_of_node = {node: each for node, each in self.gpu_of_node.items() if each != gpu}

    def of_gpu(self, gpu: str) -> list[ResidentPod]:
        """Return the pods that are on a GPU now."""
        return [pod for pod in self.present if pod.gpu == gpu]

    def follow(self, decide: Decider) -> None:
        """Have calls to all residents, now and later, meet these fates."""
        self.decide = decide
        for pod in self.present:
            pod.proxy.decide = decide

    async def close(self) -> None:
        """Close all doors, and stop all residents."""
        await self._stack.aclose()
