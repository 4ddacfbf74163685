"""The actions of a turn on residents, pods and Leases."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from gpu_relay.api.words import Reason
from gpu_relay.clients.admission_checks import AdmissionCheckStore
from gpu_relay.clients.clock import Clock
from gpu_relay.clients.events import EventRecorder
from gpu_relay.clients.http import UnavailableError
from gpu_relay.clients.jobs import JobStore
from gpu_relay.clients.kube import KubeError
from gpu_relay.clients.leases import LeaseStore
from gpu_relay.clients.nodes import NodeStore
from gpu_relay.clients.pods import PodNameTakenError, PodStore
from gpu_relay.clients.pvcs import PvcStore
from gpu_relay.clients.residents import ResidentClient
from gpu_relay.clients.usage_archive import UsageArchive
from gpu_relay.clients.workloads import WorkloadStore
from gpu_relay.controllers.resident_registry import ResidentRegistry
from gpu_relay.controllers.turn_state import LONGEST_GAP, TurnState
from gpu_relay.domain.decision import (
    Action,
    CheckAction,
    CreatePod,
    DeletePod,
    EvictWorkload,
    HandOver,
    KeepProof,
    Load,
    MarkReady,
    RemovePin,
    RestartResident,
    ReturnLease,
    SettleReload,
    Unload,
    WithdrawReady,
)
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.quantities import parse_time
from gpu_relay.domain.turn_view import TurnView
from gpu_relay.observability import metrics
from gpu_relay.pods.pod_builder import TrainerDefaults, training_pod

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Effects:
    """The clients of everything outside the process, and the clock."""

    clock: Clock
    jobs: JobStore
    pods: PodStore
    leases: LeaseStore
    events: EventRecorder
    residents: ResidentClient
    directory: ResidentRegistry
    nodes: NodeStore
    workloads: WorkloadStore
    checks: AdmissionCheckStore
    pvcs: PvcStore
    usage: UsageArchive
    http: aiohttp.ClientSession


@dataclass(frozen=True)
class Actions:
    """Takes actions. `released` is called when a GPU may have become free."""

    effects: Effects
    defaults: TrainerDefaults
    released: Callable[[], None]

    async def take(self, view: TurnView, state: TurnState, step: Action) -> GpuLease:
        """Take one action and return the resulting Lease; what else the next reconcile needs goes into `state`.

        Raise KubeError.
        """
        logger.info("%s", step)
        match step:
            case Unload() | Load() | RestartResident():
                await self._on_resident(view, state, step)
            case CreatePod():
                await self._create_pod(view, state, step)
            case DeletePod(pod):
                # A deletion that grants more time is only cut short where a time is named.
                await self.effects.pods.delete(pod, grace=self.defaults.grace_period if pod.deleting else None)
            case ReturnLease() | HandOver() | SettleReload():
                lease = await self._on_lease(view, state, step)
                self.released()
                return lease
            case MarkReady() | WithdrawReady() | EvictWorkload() | KeepProof() | RemovePin():
                await self._for_workload(view, state, step)
        return view.lease

    async def _for_workload(self, view: TurnView, state: TurnState, step: CheckAction | KeepProof | RemovePin) -> None:
        match step:
            case MarkReady():
                await self._mark_ready(view, state, step)
            case WithdrawReady():
                await self.effects.checks.withdraw(step)
            case EvictWorkload():
                await self.effects.checks.evict(step)
            case KeepProof(proof):
                state.proof = proof
            case RemovePin(node):
                removed = await self.effects.nodes.remove_pin(node)
                state.failure = "" if removed else f"node {node} may still have its label"
                state.note_pin(removed=removed)

    async def _mark_ready(self, view: TurnView, state: TurnState, step: MarkReady) -> None:
        """Have Kueue create the pods of a Workload, unless the proof is old. Without an answer, it may still do so."""
        states = (state, *state.companions)
        for each in states:
            each.note_pin(removed=False)
        nodes = [(node, pin.node_label) for pin in step.pins for node in pin.nodes]
        await asyncio.gather(*(self.effects.nodes.set_pin(node, label) for node, label in nodes))
        if _is_too_old(view, state) or any(each.recent_proof is None for each in state.companions):
            return
        try:
            await self.effects.checks.mark_ready(step)
        finally:
            for each in states:
                each.forget_samples()
        measured = {gpu.gpu: gpu.free_mib for pin in step.pins for gpu in pin.gpus}
        for each in states:
            each.remembered_proof = measured.get(each.lease.gpu)
        state.clocks.stop("prove")
        _show_memory(view)

    async def _on_resident(self, view: TurnView, state: TurnState, step: Unload | Load | RestartResident) -> None:
        assert view.resident is not None
        match step:
            case Unload():
                await self._unload(view, state, step)
            case Load():
                await self._load(view, state)
            case RestartResident():
                await self.effects.pods.delete(view.resident)

    async def _on_lease(
        self, view: TurnView, state: TurnState, step: ReturnLease | HandOver | SettleReload
    ) -> GpuLease:
        lease = view.lease
        match step:
            case ReturnLease(reload_pending, unloaded, handed_over, unused_since, used):
                state.handed_over = handed_over
                lease = await self.effects.leases.give_back(
                    lease,
                    reload_pending=reload_pending,
                    resident_unloaded=unloaded,
                    unused_since=unused_since,
                    used=used,
                    now=view.now,
                )
                state.clocks.stop("return")
                if view.lease.owner is not None and view.is_workloads:
                    metrics.TRAINING_SECONDS.labels(view.lease.owner.namespace, view.lease.gpu).inc(used.trained)
            case HandOver():
                state.handed_over = True
            case SettleReload():
                state.handed_over = False
                lease = await self.effects.leases.settle(lease, view.now)
                metrics.RESIDENT_OUT.labels(view.lease.gpu).set(0)
                if view.lease.out_since:
                    outage = (view.now - parse_time(view.lease.out_since)).total_seconds()
                    metrics.RESIDENT_OUTAGE.labels(view.lease.gpu).observe(outage)
        return lease

    async def _unload(self, view: TurnView, state: TurnState, step: Unload) -> None:
        assert view.resident is not None
        metrics.RESIDENT_OUT.labels(view.lease.gpu).set(1)
        state.clocks.start("unload")
        try:
            message, *_ = await asyncio.gather(
                *(self.effects.residents.unload(each.url, view.lease, step.eta) for each in view.residents)
            )
        except UnavailableError as error:
            state.failure = str(error)
            state.unwilling_since = state.unwilling_since or state.monotonic()
            return
        state.clocks.stop("unload")
        state.clocks.start("prove")
        state.failure, state.unwilling_since = "", None
        state.unload_message = state.unload_message or message

    async def _load(self, view: TurnView, state: TurnState) -> None:
        assert view.resident is not None
        state.handed_over = False
        state.clocks.start("load")
        await self._end_other_holds(view)
        try:
            await self.effects.residents.load(view.resident.url, view.lease.reload_pending, view.lease.fence)
        except UnavailableError as error:
            state.failure, state.load_failed = str(error), True
            self.released()
            metrics.LOAD_FAILURES.labels(view.lease.gpu).inc()
            logger.warning("resident %s was not loaded: %s", view.resident, error)
            return
        state.clocks.stop("load")
        state.failure, state.load_failed = "", False

    async def _create_pod(self, view: TurnView, state: TurnState, step: CreatePod) -> None:
        """Create the training pod, unless its proof is old: after a pause of the process, or with a slow API server.

        Law 1; the next reconcile measures again.
        """
        assert view.job is not None
        if step.proven_mib is not None and _is_too_old(view, state):
            return
        body = training_pod(view.job, view.lease, view.resident, step, self.defaults)
        state.clocks.stop("prove")
        state.clocks.start("create")
        _show_memory(view)
        try:
            await self.effects.pods.create(body)
        except PodNameTakenError as error:
            _note_refusal(state, Reason.POD_NAME_TAKEN, str(error))
        except KubeError as error:
            if not error.answered:
                state.forget_samples()
                state.unanswered_creation = state.monotonic()
            if error.unavailable or error.conflict or error.not_found:
                raise
            _note_refusal(state, Reason.POD_REFUSED, f"the API server refuses the training pod: {error}")
        else:
            # Another client may delete the pod before a reconcile reads it, and its process may outlive it for a time.
            state.forget_samples()
            state.refusal = state.refused_since = None
            state.clocks.stop("create")
            state.clocks.start("start")

    async def _end_other_holds(self, view: TurnView) -> None:
        """Load the other residents of this GPU, if they fit: their holds end in any case."""
        for other in view.others:
            try:
                await self.effects.residents.load(other.url, view.lease.reload_pending, view.lease.fence)
            except UnavailableError as error:
                logger.warning("resident %s, one of several on this GPU, was not loaded: %s", other, error)


def _is_too_old(view: TurnView, state: TurnState) -> bool:
    """True if the last measurement proves nothing any more; the next reconcile measures again."""
    too_old = state.monotonic() - state.reported_at > LONGEST_GAP
    if too_old:
        logger.info("the measurement of GPU %s is too old; measures again", view.lease.gpu)
    return too_old


def _note_refusal(state: TurnState, reason: Reason, message: str) -> None:
    state.refusal, state.failure = reason, message
    state.refused_since = state.refused_since or state.monotonic()


def _show_memory(view: TurnView) -> None:
    for gauge, mib in ((metrics.FREE_BEFORE, view.free_before), (metrics.FREE_AFTER, view.proven_free)):
        if mib is not None:
            gauge.labels(view.lease.gpu).set(mib)
