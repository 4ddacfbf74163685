"""The process: it watches, resyncs and serves probes at all times, and reconciles only while it is the leader.

::

    start ──► CRD there? ──► watches, resync, probes ──► stands by ──► leads: work + renewals ──┐
                                                            ▲ SIGTERM, an error, leadership lost │
    exit ◄── watches stop ◄── Lease released ◄── work stops ◄────────────────────────────────────┘
"""

import asyncio
import logging
import os
import signal
import socket
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import aiohttp
import kopf

from gpu_relay import probes
from gpu_relay.api import words
from gpu_relay.clients.admission_checks import AdmissionCheckStore
from gpu_relay.clients.clock import CLUSTER
from gpu_relay.clients.events import EventRecorder
from gpu_relay.clients.http import open_session
from gpu_relay.clients.jobs import JobStore
from gpu_relay.clients.kube import Kube, KubeError
from gpu_relay.clients.leases import LeaseStore
from gpu_relay.clients.nodes import NodeStore
from gpu_relay.clients.pods import PodStore
from gpu_relay.clients.pvcs import PvcStore
from gpu_relay.clients.residents import ResidentClient
from gpu_relay.clients.resources import JOBS
from gpu_relay.clients.usage_archive import UsageArchive
from gpu_relay.clients.workloads import WorkloadStore
from gpu_relay.controllers.manager import Manager
from gpu_relay.controllers.resident_registry import ResidentRegistry, external_resident
from gpu_relay.controllers.runtime.store import Cache
from gpu_relay.controllers.turn_actions import Effects
from gpu_relay.handlers import registry_for
from gpu_relay.leaderelection.elector import LeaderElector
from gpu_relay.leaderelection.lease import LeaderLease
from gpu_relay.observability.metrics import count_api_request
from gpu_relay.settings import Settings

logger = logging.getLogger(__name__)
_START_RETRY = 2.0
_LONGEST_END = 8.0
"""Seconds in which the watches must end: Kopf takes 5 when one of them has failed."""
T = TypeVar("T")


async def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. Raises the error of a task that ends before."""
    async with (
        Kube.connect(field_manager="gpu-relay", timeout=settings.request_timeout, count=count_api_request) as kube,
        open_session() as http,
    ):
        await _expect_crd(kube)
        leadership = LeaderElector(LeaderLease(kube, settings.namespace), _identity(), settings.lease_duration)
        manager = _manager(kube.writing_if(leadership.permit), http, leadership, settings)
        host = os.environ.get("BIND_ADDRESS", "0.0.0.0")
        async with probes.serve(manager, leadership, host, settings.http_port) as port:
            logger.info("gpu-relay is running; namespace %s, probes on port %d", settings.namespace, port)
            await _until_one_ends(manager, leadership, settings)


def _identity() -> str:
    """Return the identity of this candidate: that of the pod, so a restarted container continues as the leader."""
    name = os.environ.get("POD_NAME") or socket.gethostname()
    return f"{name}_{os.environ.get('POD_UID') or uuid.uuid4()}"


def _manager(kube: Kube, http: aiohttp.ClientSession, leadership: LeaderElector, settings: Settings) -> Manager:
    cache = Cache(settings.trusts_residents_of, settings.resident_port, CLUSTER.monotonic)
    namespace = settings.watch_namespace or None
    residents = ResidentClient(http, settings.resident_token_file, settings.limits(), leadership.permit)
    workloads = WorkloadStore(kube, namespace)
    effects = Effects(
        clock=CLUSTER,
        jobs=JobStore(kube, namespace),
        pods=PodStore(kube, namespace),
        leases=LeaseStore(kube, settings.namespace),
        events=EventRecorder(kube),
        residents=residents,
        directory=ResidentRegistry(
            cache,
            residents,
            [external_resident(**each.model_dump()) for each in settings.external_residents],
        ),
        nodes=NodeStore(kube, settings.gpu_resource, lists_pods=not settings.watch_namespace),
        workloads=workloads,
        checks=AdmissionCheckStore(kube, namespace, workloads),
        pvcs=PvcStore(kube),
        usage=UsageArchive(kube, settings.namespace),
        http=http,
    )
    return Manager(kube, cache, effects, settings)


async def _until_one_ends(manager: Manager, leadership: LeaderElector, settings: Settings) -> None:
    where = {"namespaces": [settings.watch_namespace]} if settings.watch_namespace else {"clusterwide": True}
    up, stop = asyncio.Event(), asyncio.Event()
    kueue, checks = await _patiently(manager.discovery.find)
    registry = registry_for(manager, kueue=kueue, checks=checks)
    watches = asyncio.create_task(
        kopf.operator(registry=registry, standalone=True, ready_flag=up, stop_flag=stop, **where)
    )
    resyncs = asyncio.create_task(manager.follow())
    outdated = asyncio.create_task(manager.discovery.until_outdated())
    work = asyncio.create_task(_lead(manager, leadership, up))
    await asyncio.wait({watches, resyncs, outdated, work}, return_when=asyncio.FIRST_COMPLETED)
    ends = await _ended(work, resyncs, outdated)
    stop.set()
    for end in [*ends, await _end_of(watches)]:
        if isinstance(end, Exception):
            raise end


async def _end_of(watches: "asyncio.Task[None]") -> BaseException | None:
    """Wait for the end of the watches; exit from this process if they do not end. Nothing acts any more at that point.

    A watcher of Kopf that waits for a response when another watcher fails can miss its cancellation. Kopf, and
    `asyncio.run`, would then wait for it indefinitely: https://github.com/nolar/kopf/issues/1168
    """
    await asyncio.wait({watches}, timeout=_LONGEST_END)
    if not watches.done():
        logger.error("the watches do not end; exiting without waiting for them")
        logging.shutdown()
        os._exit(1)
    return (await asyncio.gather(watches, return_exceptions=True))[0]


async def _lead(manager: Manager, leadership: LeaderElector, up: asyncio.Event) -> None:
    """Stand by, then work while this process is the leader; release leadership when nothing acts any more."""
    await up.wait()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):  # Kopf's handlers do not end our tasks
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await leadership.campaign()
    try:
        await _both(leadership.keep(), manager.work())
    finally:
        await leadership.release()


async def _both(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run coroutines until the first of them ends. Raises the error of any of them."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ends = await _ended(*tasks)
    for end in ends:
        if isinstance(end, Exception):
            raise end


async def _ended(*tasks: "asyncio.Task[None]") -> list[BaseException | None]:
    """Cancel tasks, wait until they have ended, and return their errors."""
    for task in tasks:
        task.cancel()
    return list(await asyncio.gather(*tasks, return_exceptions=True))


async def _expect_crd(kube: Kube) -> None:
    """Wait for the API server. Raises KubeError if it does not know the CRD, or refuses the request."""
    try:
        await _patiently(lambda: kube.get(JOBS.root))
    except KubeError as error:
        if error.not_found:
            message = f"the cluster has no CRD of {words.KIND}: apply the files of crds/ first"
            raise KubeError(0, "NoCRD", message) from error
        raise


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Call until the API server answers. Raises KubeError if it refuses."""
    while True:
        try:
            return await call()
        except KubeError as error:
            if error.not_found or error.refusal:
                raise
            logger.warning("waiting for the API server: %s", error)
        await asyncio.sleep(_START_RETRY)
