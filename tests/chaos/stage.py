"""One scenario's world: namespaces, nodes, residents, kubelets, and operators behind proxies of their own."""

import asyncio
import contextlib
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp

from devcluster.scripted.manifests import job_manifest
from devcluster.scripted.resident import ScriptedResident
from gpu_relay.clients.kube import KubeError, Object
from tests.chaos.api import Api
from tests.chaos.claims import create_claims, delete_volumes
from tests.chaos.happenings import Happenings
from tests.chaos.kubelet import Kubelet
from tests.chaos.nodes import SHARES, Nodes
from tests.chaos.operators import Operator, kubeconfig_of
from tests.chaos.plain_jobs import JOB_NAME, PlainJobs
from tests.chaos.proxy import Call, Fate, Proxy
from tests.chaos.residents import Residents

_GROUP = "/apis/gpurelay.dev/v1alpha1"
_BY_CHANCE = frozenset({"Unschedulable", "PodNotStarted", "TrainingRunning"})
"""Whether the operator looks at a pod before its kubelet does, and while it runs."""
SETTINGS = {
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
}
"""The operators' settings, without the prefix `GPU_RELAY_`; a scenario may replace any."""


@dataclass
class Stage:
    """A scenario's parts, all running."""

    api: Api
    name: str
    folder: Path
    nodes: Nodes
    lenders: Residents
    kubelet: Kubelet
    """Of the tenant's pods."""
    neighbour: Kubelet
    """Of the bystander's pods."""
    settings: Mapping[str, str]
    plain: PlainJobs
    """The tenant's plain Jobs, if the scenario has any."""
    restarted: bool = False
    """Residents have restarted since: they come up unloaded, and load when somebody asks them for something."""
    operators: dict[str, Operator] = field(default_factory=dict)
    proxies: dict[str, Proxy] = field(default_factory=dict)
    """Of the operators, by their names."""
    happenings: Happenings = field(default_factory=Happenings)
    fates: list[Callable[[Call], Fate | None]] = field(default_factory=list)
    """Events' words on the operators' calls to the API server; the first that is not None counts."""
    calm: bool = False
    """Nothing goes wrong in this run but its events."""
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by an event that replaces residents or nodes: one at a time does."""

    def fate_of(self, call: Call) -> Fate | None:
        """Return what events do to an operator's call; None where they do nothing."""
        return next((fate for decide in self.fates if (fate := decide(call)) is not None), None)

    @property
    def residents(self) -> list[ScriptedResident]:
        """The residents that have a pod."""
        return [pod.scripted for pod in self.lenders.present]

    @property
    def system(self) -> str:
        """The namespace of the operator and of the residents."""
        return f"{self.name}-system"

    @property
    def bystander(self) -> str:
        """The namespace of the jobs that no event concerns."""
        return f"{self.name}-bystander"

    @property
    def tenants(self) -> tuple[str, str]:
        """The namespaces of jobs."""
        return self.name, self.bystander

    def pods_path(self, namespace: str = "") -> str:
        """The collection of pods of a namespace; default: the tenant's."""
        return f"/api/v1/namespaces/{namespace or self.name}/pods"

    def jobs_path(self, namespace: str = "") -> str:
        """The collection of jobs of a namespace; default: the tenant's."""
        return f"{_GROUP}/namespaces/{namespace or self.name}/yolotrainingjobs"

    async def apply(self, name: str, namespace: str = "", **spec: Any) -> None:
        """Create a job; default: the tenant's."""
        await self.api.create(self.jobs_path(namespace), job_manifest(name, **spec))

    async def change(self, name: str, **spec: Any) -> None:
        """Change fields of a job's spec."""
        await self.api.merge(f"{self.jobs_path()}/{name}", {"spec": spec})

    async def delete(self, name: str) -> None:
        """Delete a job and leave its pods behind: the operator has to stop a training run without a job."""
        self.happenings.unreadable.pop((self.name, name), None)  # its training may be stopped from now on
        await self.api.remove(f"{self.jobs_path()}/{name}", propagationPolicy="Orphan")

    async def jobs(self) -> list[Object]:
        """Read all jobs of the tenant."""
        return await self.api.list(self.jobs_path())

    async def judged_jobs(self) -> list[Object]:
        """Read the jobs of both namespaces, but those whose end no law promises."""
        jobs = [job for each in self.tenants for job in await self.api.list(self.jobs_path(each))]
        return [job for job in jobs if job["metadata"]["name"] not in self.happenings.unjudged]

    async def gpu_leases(self) -> list[Object]:
        """Read the GPUs' Leases."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.system}/leases"
        return await self.api.list(path, labels="gpurelay.dev/gpu")

    async def leader(self) -> str:
        """Return the name of the operator that leads; empty while none does."""
        lease = await self.api.find(f"/apis/coordination.k8s.io/v1/namespaces/{self.system}/leases/gpu-relay-leader")
        return str(lease["spec"].get("holderIdentity", "")).split("_")[0] if lease else ""

    async def at_rest(self) -> bool:
        """True when every job has ended, every GPU belongs to its resident, and every resident is loaded or may load.

        A GPU that has gone, or whose resident does not answer, may keep its Lease; jobs that no law promises an end may
        wait.
        """
        answering = [pod.scripted for pod in self.lenders.present if pod.silent_since is None]
        silent = {pod.gpu for pod in self.lenders.present if pod.silent_since is not None}
        gone = {gpu for _, gpu in self.lenders.gone} | silent
        settled = all(
            lease["spec"]["holderIdentity"] == "resident"
            and "gpurelay.dev/reload-owed" not in lease["metadata"].get("annotations", {})
            for lease in await self.gpu_leases()
            if lease["metadata"]["name"] not in gone
        )
        over = all(map(_has_ended, await self.judged_jobs())) and await self.plain.at_rest()
        return over and settled and all(each.loaded or (self.restarted and each.hold is None) for each in answering)

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
        pods = await self.api.list(f"/api/v1/namespaces/{self.name}/pods", labels="gpurelay.dev/job")
        events = await self.api.list(f"/api/v1/namespaces/{self.name}/events")
        return {
            "jobs": {job["metadata"]["name"]: _normalised(job) for job in await self.jobs()},
            "leases": sorted(lease["spec"]["holderIdentity"] for lease in await self.gpu_leases()),
            "residents": [(resident.loaded, resident.hold is None) for resident in self.residents],
            "pods": sorted((pod["metadata"]["name"], pod["status"].get("phase")) for pod in pods),
            **await self.plain.final_state(),
            "events": dict(
                Counter(
                    f"{event['involvedObject']['name']} {event['reason']}"
                    for event in events
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
    quota: int = 0,
    shares: int = SHARES,
) -> AsyncIterator[Stage]:
    """Furnish a scenario; its operators are not started yet. `settings` are those of the operators.

    With a quota, in GPUs, the tenant can have plain Jobs. `shares` is how many pods may have the GPU of a node.
    """
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        nodes = Nodes(api, name, shares)
        lenders = Residents(api, f"{name}-system", f"{name},{name}-bystander", upstream)
        kubelets = [Kubelet(api, each, lenders, train_seconds) for each in (name, f"{name}-bystander")]
        plain = PlainJobs(api, name)
        stage = Stage(api, name, folder, nodes, lenders, kubelets[0], kubelets[1], {**SETTINGS, **settings}, plain)
        stack.push_async_callback(_clear, stage)
        await _create_namespaces(stage)
        works = [*(kubelet.run() for kubelet in kubelets), nodes.keep_ready()]
        if quota:
            await plain.open(quota)
            works.append(stage.kubelet.run(JOB_NAME))
        stack.push_async_callback(lenders.close)
        for number in range(gpus):
            gpu = f"GPU-{uuid.uuid5(uuid.NAMESPACE_DNS, f'{name}-{number}')}"
            await lenders.open(await nodes.add(), gpu=gpu)
        for number in range(replicas):
            skew = skews[number] if number < len(skews) else 0.0
            await _add_operator(stage, f"operator-{number}", upstream, stack, skew)
        for work in works:
            stack.push_async_callback(_cancelled, asyncio.create_task(work))
        yield stage


async def _add_operator(
    stage: Stage, name: str, upstream: aiohttp.ClientSession, stack: AsyncExitStack, skew: float
) -> None:
    visible = frozenset({*stage.tenants, stage.system})
    proxy = stage.proxies[name] = Proxy(name, upstream, stage.api.context, visible)
    proxy.event = stage.fate_of
    door = await stack.enter_async_context(proxy.door("api", stage.api.server, "127.0.0.1", 0))
    kubeconfig = stage.folder / f"{stage.name}-{name}.kubeconfig"
    kubeconfig.write_text(json.dumps(kubeconfig_of(door)))
    environment = {
        "KUBECONFIG": str(kubeconfig),
        "BIND_ADDRESS": "127.0.0.1",
        "GPU_RELAY_NAMESPACE": stage.system,
        **{f"GPU_RELAY_{key}": value for key, value in stage.settings.items()},
    }
    operator = stage.operators[name] = Operator(name, stage.folder / f"{stage.name}-{name}.log", environment, skew=skew)
    stack.callback(operator.kill)


async def _create_namespaces(stage: Stage) -> None:
    for each in (*stage.tenants, stage.system):
        await stage.api.create("/api/v1/namespaces", {"metadata": {"name": each}})
    for each in (*stage.tenants, stage.system):
        while await stage.api.find(f"/api/v1/namespaces/{each}/serviceaccounts/default") is None:
            await asyncio.sleep(0.05)
    for each in stage.tenants:
        await create_claims(stage.api, each)


async def _clear(stage: Stage) -> None:
    await stage.plain.close()
    for each in (*stage.tenants, stage.system):
        await stage.api.remove(stage.jobs_path(each))
        await stage.api.remove(stage.pods_path(each), gracePeriodSeconds=0)
        await delete_volumes(stage.api, each)
        with contextlib.suppress(KubeError):
            await stage.api.remove(f"/api/v1/namespaces/{each}")
    await stage.nodes.close()


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    end = (await asyncio.gather(task, return_exceptions=True))[0]
    if isinstance(end, Exception):
        raise end


def _has_ended(job: Object) -> bool:
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
