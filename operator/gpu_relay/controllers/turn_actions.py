"""The steps of a turn, taken: what a decision asks for, done to residents, pods and Leases."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from gpu_relay.api.words import Reason
from gpu_relay.clients.events import EventRecorder
from gpu_relay.clients.http import UnavailableError
from gpu_relay.clients.jobs import JobStore
from gpu_relay.clients.kube import KubeError
from gpu_relay.clients.leases import LeaseStore
from gpu_relay.clients.nodes import NodeStore
from gpu_relay.clients.pods import PodNameTakenError, PodStore
from gpu_relay.clients.pvcs import ClaimStore
from gpu_relay.clients.residents import ResidentClient
from gpu_relay.clients.workloads import WorkloadStore
from gpu_relay.controllers.resident_registry import ResidentDirectory
from gpu_relay.controllers.turn_state import Memory
from gpu_relay.domain.decision import (
    CreatePod,
    DeletePod,
    Load,
    PassOn,
    RestartResident,
    ReturnLease,
    SettleReload,
    Step,
    Unload,
)
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.turn_view import TurnView
from gpu_relay.domain.quantities import parse_time
from gpu_relay.observability import metrics
from gpu_relay.pods.pod_builder import TrainerDefaults, training_pod

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Effects:
    """Everything a turn can do."""

    jobs: JobStore
    pods: PodStore
    leases: LeaseStore
    events: EventRecorder
    residents: ResidentClient
    directory: ResidentDirectory
    nodes: NodeStore
    workloads: WorkloadStore
    claims: ClaimStore
    http: aiohttp.ClientSession


@dataclass(frozen=True)
class Actions:
    """Takes steps. `released` is called when a GPU may have become free."""

    effects: Effects
    defaults: TrainerDefaults
    released: Callable[[], None]

    async def take(self, view: TurnView, memory: Memory, step: Step) -> GpuLease:
        """Take one step and return the Lease as it then is; what else the next look needs goes into `memory`.

        Raises KubeError.
        """
        logger.info("%s", step)
        match step:
            case Unload() | Load() | RestartResident():
                await self._on_resident(view, memory, step)
            case CreatePod():
                await self._create_pod(view, memory, step)
            case DeletePod(pod):
                # A deletion that grants more time is only cut short where a time is named.
                await self.effects.pods.delete(pod, grace=self.defaults.grace_period if pod.deleting else None)
            case ReturnLease() | PassOn() | SettleReload():
                lease = await self._on_lease(view, memory, step)
                self.released()
                return lease
        return view.lease

    async def _on_resident(self, view: TurnView, memory: Memory, step: Unload | Load | RestartResident) -> None:
        assert view.resident is not None
        match step:
            case Unload():
                await self._unload(view, memory, step)
            case Load():
                await self._load(view, memory)
            case RestartResident():
                await self.effects.pods.delete(view.resident)

    async def _on_lease(self, view: TurnView, memory: Memory, step: ReturnLease | PassOn | SettleReload) -> GpuLease:
        lease = view.lease
        match step:
            case ReturnLease(owed, out, passed_on, unused_since):
                memory.passed_on = passed_on
                lease = await self.effects.leases.give_back(
                    lease, reload_owed=owed, resident_out=out, unused_since=unused_since, now=view.now
                )
                memory.clocks.stop("return")
            case PassOn():
                memory.passed_on = True
            case SettleReload():
                memory.passed_on = False
                lease = await self.effects.leases.settle(lease, view.now)
                metrics.RESIDENT_OUT.labels(view.lease.gpu).set(0)
                if view.lease.out_since:
                    outage = (view.now - parse_time(view.lease.out_since)).total_seconds()
                    metrics.RESIDENT_OUTAGE.labels(view.lease.gpu).observe(outage)
        return lease

    async def _unload(self, view: TurnView, memory: Memory, step: Unload) -> None:
        assert view.resident is not None
        metrics.RESIDENT_OUT.labels(view.lease.gpu).set(1)
        memory.clocks.start("unload")
        try:
            message, *_ = await asyncio.gather(
                *(self.effects.residents.unload(each.url, view.lease, step.eta) for each in view.residents)
            )
        except UnavailableError as error:
            memory.failure = str(error)
            memory.unwilling_since = memory.unwilling_since or time.monotonic()
            return
        memory.clocks.stop("unload")
        memory.clocks.start("prove")
        memory.failure, memory.unwilling_since = "", None
        memory.unload_message = memory.unload_message or message

    async def _load(self, view: TurnView, memory: Memory) -> None:
        assert view.resident is not None
        memory.passed_on = False
        memory.clocks.start("load")
        await self._end_other_holds(view)
        try:
            await self.effects.residents.load(view.resident.url, view.lease.reload_owed, view.lease.fence)
        except UnavailableError as error:
            memory.failure, memory.load_failed = str(error), True
            self.released()
            metrics.LOAD_FAILURES.labels(view.lease.gpu).inc()
            logger.warning("resident %s was not loaded: %s", view.resident, error)
            return
        memory.clocks.stop("load")
        memory.failure, memory.load_failed = "", False

    async def _create_pod(self, view: TurnView, memory: Memory, step: CreatePod) -> None:
        assert view.job is not None
        body = training_pod(view.job, view.lease, view.resident, step, self.defaults)
        memory.clocks.stop("prove")
        memory.clocks.start("create")
        _show_memory(view)
        try:
            await self.effects.pods.create(body)
        except PodNameTakenError as error:
            _note_refusal(memory, Reason.POD_NAME_TAKEN, str(error))
        except KubeError as error:
            if error.unavailable or error.conflict or error.not_found:
                raise
            _note_refusal(memory, Reason.POD_REFUSED, f"the API server refuses the training pod: {error}")
        else:
            memory.refusal = memory.refused_since = None
            memory.clocks.stop("create")
            memory.clocks.start("start")

    async def _end_other_holds(self, view: TurnView) -> None:
        """Have further residents of this GPU load, too, or find that they have no room: their holds end in any case."""
        for other in view.others:
            try:
                await self.effects.residents.load(other.url, view.lease.reload_owed, view.lease.fence)
            except UnavailableError as error:
                logger.warning("resident %s, one of several on this GPU, was not loaded: %s", other, error)


def _note_refusal(memory: Memory, reason: Reason, message: str) -> None:
    memory.refusal, memory.failure = reason, message
    memory.refused_since = memory.refused_since or time.monotonic()


def _show_memory(view: TurnView) -> None:
    for gauge, mib in ((metrics.FREE_BEFORE, view.free_before), (metrics.FREE_AFTER, view.proven_free)):
        if mib is not None:
            gauge.labels(view.lease.gpu).set(mib)
