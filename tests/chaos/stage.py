"""One scenario's world: two namespaces, residents, a kubelet, and operators behind proxies of their own."""

import asyncio
import contextlib
import itertools
import json
import os
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp

from tests.chaos.api import Api, ApiError, Object
from tests.chaos.kubelet import Kubelet
from tests.chaos.operators import Operator
from tests.chaos.proxy import Proxy
from tests.support.scripted_resident import ScriptedResident
from tests.support.world import job_manifest

_GROUP = "/apis/gpurelay.dev/v1alpha1"
_doors = itertools.count(os.getpid() % 50_000)
_BY_CHANCE = frozenset({"Unschedulable", "PodNotStarted", "TrainingRunning"})
"""Whether the operator looks at a pod before its kubelet does, and while it runs."""
_SETTINGS = {
    "SAMPLE_INTERVAL": "0.05",
    "PROGRESS_INTERVAL": "0.2",
    "BACKOFF_BASE": "0.2",
    "MEMORY_RETURN_TIMEOUT": "2",
    "HTTP_PORT": "0",
    "LEASE_DURATION": "12",
    "REQUEST_TIMEOUT": "3",
    "LOAD_TIMEOUT": "3",
    "RESYNC_INTERVAL": "5",
    "PREPARATIONS": "0",
    "MIN_SERVE": "0",
    "RESIDENT_NAMESPACES": "*",
}


@dataclass
class Stage:
    """A scenario's parts, all running."""

    api: Api
    name: str
    folder: Path
    residents: list[ScriptedResident]
    kubelet: Kubelet
    restarted: bool = False
    """Residents have restarted since: they come up unloaded, and load when somebody asks them for something."""
    operators: dict[str, Operator] = field(default_factory=dict)
    proxies: dict[str, Proxy] = field(default_factory=dict)

    @property
    def system(self) -> str:
        """The operator's namespace."""
        return f"{self.name}-system"

    @property
    def jobs_path(self) -> str:
        """The jobs' collection."""
        return f"{_GROUP}/namespaces/{self.name}/yolotrainingjobs"

    async def apply(self, name: str, **spec: Any) -> None:
        """Create a job."""
        await self.api.post(self.jobs_path, job_manifest(name, **spec))

    async def change(self, name: str, **spec: Any) -> None:
        """Change fields of a job's spec."""
        await self.api.patch(f"{self.jobs_path}/{name}", {"spec": spec})

    async def delete(self, name: str) -> None:
        """Delete a job and leave its pods behind: the operator has to stop a training that nobody wants any more."""
        await self.api.delete(f"{self.jobs_path}/{name}", propagationPolicy="Orphan")

    async def jobs(self) -> list[Object]:
        """Read all jobs."""
        return list((await self.api.get(self.jobs_path))["items"])

    async def gpu_leases(self) -> list[Object]:
        """Read the GPUs' Leases."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.system}/leases"
        return list((await self.api.get(path, labelSelector="gpurelay.dev/gpu"))["items"])

    async def leader(self) -> str:
        """Return the name of the operator that leads; empty while none does."""
        lease = await self.api.find(f"/apis/coordination.k8s.io/v1/namespaces/{self.system}/leases/gpu-relay-leader")
        return str(lease["spec"].get("holderIdentity", "")).split("_")[0] if lease else ""

    async def at_rest(self) -> bool:
        """True when every job is over, every GPU the resident's, and every resident loaded, or free to load."""
        settled = all(
            lease["spec"]["holderIdentity"] == "resident"
            and "gpurelay.dev/reload-owed" not in lease["metadata"].get("annotations", {})
            for lease in await self.gpu_leases()
        )
        over = all(_is_over(job) for job in await self.jobs())
        return (
            over
            and settled
            and all(resident.loaded or (self.restarted and resident.hold is None) for resident in self.residents)
        )

    async def comes_to_rest(self, within: float) -> None:
        """Wait for that; AssertionError says what is not at rest. An operator that has ended is started again."""
        deadline = asyncio.get_running_loop().time() + within
        while not await self.at_rest():
            for operator in self.operators.values():
                if operator.starts and not operator.running:
                    operator.start()
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"{self.name} is not at rest after {within:.0f} s: {await self.final_state()}")
            await asyncio.sleep(0.15)

    async def final_state(self) -> Object:
        """Return all that a scenario leaves behind, without what may differ from run to run: times, UIDs, versions."""
        pods = await self.api.get(f"/api/v1/namespaces/{self.name}/pods", labelSelector="gpurelay.dev/job")
        events = await self.api.get(f"/api/v1/namespaces/{self.name}/events")
        return {
            "jobs": {job["metadata"]["name"]: _normalised(job) for job in await self.jobs()},
            "leases": sorted(lease["spec"]["holderIdentity"] for lease in await self.gpu_leases()),
            "residents": [(resident.loaded, resident.hold is None) for resident in self.residents],
            "pods": sorted((pod["metadata"]["name"], pod["status"].get("phase")) for pod in pods["items"]),
            "events": dict(
                Counter(
                    f"{event['involvedObject']['name']} {event['reason']}"
                    for event in events["items"]
                    if event["involvedObject"].get("kind") == "YoloTrainingJob" and event["reason"] not in _BY_CHANCE
                )
            ),
        }


@asynccontextmanager
async def open_stage(
    api: Api,
    folder: Path,
    name: str,
    *,
    gpus: int = 1,
    replicas: int = 1,
    train_seconds: float = 0.3,
    skews: tuple[float, ...] = (),
    settings: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Stage]:
    """Furnish a scenario; its operators are not started yet. `settings` are those of the operators."""
    async with AsyncExitStack() as stack:
        await _create_namespaces(api, name)
        stack.push_async_callback(_delete_namespaces, api, name)
        residents = [
            ScriptedResident(uuid=f"GPU-{uuid.uuid5(uuid.NAMESPACE_DNS, f'{name}-{number}')}") for number in range(gpus)
        ]
        for resident in residents:
            stack.callback(resident.close)
        kubelet = Kubelet(api, name, {resident.uuid.lower(): resident for resident in residents}, train_seconds)
        stage = Stage(api, name, folder, residents, kubelet)
        upstream = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        await _open_residents(stage, upstream, stack)
        for number in range(replicas):
            skew = skews[number] if number < len(skews) else 0.0
            await _add_operator(stage, f"operator-{number}", upstream, stack, skew, settings)
        work = asyncio.create_task(kubelet.run())
        stack.push_async_callback(_cancelled, work)
        yield stage


async def _open_residents(stage: Stage, upstream: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
    """Put each resident behind a door of its own, at the address that its pod has."""
    for number, resident in enumerate(stage.residents):
        proxy = stage.proxies[f"resident-{number}"] = Proxy("", upstream, stage.api.context)
        place = next(_doors)
        address = f"127.10.{place // 250 % 250}.{place % 250 + 1}"
        await stack.enter_async_context(proxy.door("resident", f"http://{resident.ip}:8000", address, 8000))
        path = f"/api/v1/namespaces/{stage.name}/pods"
        pod = {
            "metadata": {"name": f"sam3-{number}", "labels": {"gpurelay.dev/resident": "sam3"}},
            "spec": {"nodeName": "node-1", "containers": [{"name": "sam3", "image": "gpu-relay/sam3"}]},
        }
        await stage.api.post(path, pod)
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        await stage.api.patch(f"{path}/sam3-{number}/status", {"status": status})


async def _add_operator(
    stage: Stage,
    name: str,
    upstream: aiohttp.ClientSession,
    stack: AsyncExitStack,
    skew: float,
    settings: Mapping[str, str],
) -> None:
    proxy = stage.proxies[name] = Proxy(name, upstream, stage.api.context)
    door = await stack.enter_async_context(proxy.door("api", stage.api.server, "127.0.0.1", 0))
    kubeconfig = stage.folder / f"{stage.name}-{name}.kubeconfig"
    kubeconfig.write_text(json.dumps(_kubeconfig(door)))
    environment = {
        "KUBECONFIG": str(kubeconfig),
        "BIND_ADDRESS": "127.0.0.1",
        "GPU_RELAY_NAMESPACE": stage.system,
        "GPU_RELAY_WATCH_NAMESPACE": stage.name,
        **{f"GPU_RELAY_{key}": value for key, value in {**_SETTINGS, **settings}.items()},
    }
    operator = stage.operators[name] = Operator(name, stage.folder / f"{stage.name}-{name}.log", environment, skew=skew)
    stack.callback(operator.kill)


def _kubeconfig(server: str) -> Object:
    return {
        "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
        "clusters": [{"name": "proxy", "cluster": {"server": server}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "operator"}}],
        "users": [{"name": "operator", "user": {"token": "none"}}],
    }  # fmt: skip


async def _create_namespaces(api: Api, name: str) -> None:
    for each in (name, f"{name}-system"):
        await api.post("/api/v1/namespaces", {"metadata": {"name": each}})
    while await api.find(f"/api/v1/namespaces/{name}/serviceaccounts/default") is None:
        await asyncio.sleep(0.05)


async def _delete_namespaces(api: Api, name: str) -> None:
    await api.delete(f"{_GROUP}/namespaces/{name}/yolotrainingjobs")
    await api.delete(f"/api/v1/namespaces/{name}/pods", gracePeriodSeconds=0)
    for each in (name, f"{name}-system"):
        with contextlib.suppress(ApiError):
            await api.delete(f"/api/v1/namespaces/{each}")


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    end = (await asyncio.gather(task, return_exceptions=True))[0]
    if isinstance(end, Exception):
        raise end


def _is_over(job: Object) -> bool:
    phase = job.get("status", {}).get("phase")
    return phase in {"Succeeded", "Failed"} or (phase == "Suspended" and bool(job["spec"].get("suspend")))


def _normalised(job: Object) -> Object:
    status = job.get("status", {})
    return {
        "phase": status.get("phase"),
        "conditions": {c["type"]: (c["status"], c["reason"]) for c in status.get("conditions", [])},
        "attempts": [(a["number"], a["pod"], a["reason"], a.get("exitCode")) for a in status.get("attempts", [])],
        "memory": [status.get("gpu", {}).get(key) for key in ("freeBefore", "freeAfter", "needed")],
        "fields": sorted(status),
    }
