"""Reconcile one GPU: observe live, plan, apply.

What a process remembers between reconciles only saves time; no decision that could cost memory depends on it.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from gpu_relay.clients import trainers
from gpu_relay.controllers.apply import Applier, Change, Outcome
from gpu_relay.controllers.kueue_controller import KueueController
from gpu_relay.controllers.observation import Observation, ResidentReadings, ask_residents, concerned, survey
from gpu_relay.controllers.turn_actions import Actions, Effects
from gpu_relay.controllers.turn_state import TurnState
from gpu_relay.controllers.workload_follower import WorkloadFollower
from gpu_relay.controllers.workload_pauses import WorkloadPauses
from gpu_relay.domain.decision import Decision, KeepProof
from gpu_relay.domain.job.pod_failures import is_start_failure
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.objects.resident import CONTEXT_MIB, GpuReport, Resident
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.candidate import context_of
from gpu_relay.domain.turn import plan as turn
from gpu_relay.domain.turn_view import Preemptor, TurnView
from gpu_relay.observability import logs, metrics
from gpu_relay.pods.pod_builder import TrainerDefaults

logger = logging.getLogger(__name__)
_MISSING_RETRY = 0.2
"""Seconds until the next reconcile of a GPU if an object of its turn does not exist."""
_SLOW_READ = 0.5
"""Seconds of reading after which the residents are asked again."""


class TurnController:
    """Drives the turn of each GPU."""

    def __init__(
        self,
        effects: Effects,
        policy: Policy,
        defaults: TrainerDefaults,
        released: Callable[[], None],
        waiting_for: Callable[[str], tuple[str, Preemptor | None]],
        admissions: KueueController,
    ) -> None:
        """`released` is called when a GPU may have become free.

        `waiting_for` returns the job that can get a GPU next, and the job that preempts its owner.
        """
        self._do = effects
        self._clock = effects.clock
        self._applier = Applier(effects.jobs, effects.events)
        self._actions = Actions(effects, defaults, released)
        self._waiting_for = waiting_for
        self._kueue = admissions
        self._policy = policy
        self.pauses = WorkloadPauses(policy, effects.clock.monotonic)
        self._follower = WorkloadFollower(effects.checks, self.pauses, policy)
        self._states: dict[str, TurnState] = {}
        self._contexts: dict[str, int] = {}
        """What each resident freed besides its model at an unload, in MiB, by UID; its loss does no harm."""
        self.concerns: dict[str, str] = {}
        """The holder of the turn or of the pending reload, by GPU; a job can have a turn and an older reload."""

    def gpus_of(self, job: JobKey) -> list[str]:
        """Return the GPUs that a change of a job concerns."""
        return [gpu for gpu, holder in self.concerns.items() if holder == job.holder]

    def context_of(self, resident: Resident) -> int:
        """Return the most that a resident holds besides its model, in MiB."""
        return self._contexts.get(resident.uid, CONTEXT_MIB)

    def open_despite_pending_reload(self, gpu: str) -> bool:
        """True if the queue need not wait for a reload: the next turn goes first, or the last load failed."""
        state = self._states.get(gpu)
        return state is not None and (state.load_failed or state.handed_over)

    def is_handed_over(self, gpu: str) -> bool:
        """True while a GPU waits for the next job to take it."""
        state = self._states.get(gpu)
        return state is not None and state.handed_over

    def observe_end(self, pod: TrainingPod) -> None:
        """Remember how a trainer ended: that is final, and the pod may be gone at the next reconcile."""
        state = self._states.get(pod.gpu)
        if state is not None and state.lease.fence == pod.fence and pod.termination is not None:
            state.ended = pod

    def observe_change(self, gpu: str) -> None:
        """Make the next reconcile read everything."""
        state = self._states.get(gpu)
        if state is not None:
            state.changed = True

    def observe_lease(self, lease: GpuLease) -> None:
        """Remember a Lease as this process has just written it, before a watch or a read shows it."""
        self._upsert_state(lease)

    async def reconcile(self, gpu: str) -> float | None:
        """Reconcile a GPU; return the seconds until the next reconcile, None to wait for a change."""
        with metrics.PASS_SECONDS.time():
            state = self._states.get(gpu)
            if state is not None and self._is_between_samples(state):
                return await self._measure(state)
            lease, seen = await self._read(gpu, state)
            if lease is None or seen is None:
                self._states.pop(gpu, None)
                self.concerns.pop(gpu, None)
                return None
            owner = concerned(lease)
            logs.task_is_about(gpu=gpu, fence=lease.fence, **({"job": str(owner)} if owner else {}))
            view = await self._view(lease, owner, seen)
            state = self._states.get(gpu)
            if state is None or self._is_overtaken(lease):
                return 0
            decision = turn.plan(view)
            logger.debug(
                "reconciled: %s, then %s", view.job.status.phase if view.job else "no job", decision.action or "nothing"
            )
            state.measuring = decision.measuring
            if not isinstance(decision.action, KeepProof):
                state.proof = None
            requeue_after = await self._apply(view, decision)
            return self._until_next_sample(state) if decision.measuring and requeue_after else requeue_after

    def _is_between_samples(self, state: TurnState) -> bool:
        """True if only another sample is needed: the last one of a row comes with a complete reconcile."""
        return state.measuring and not state.changed and state.lacks_samples(self._policy.samples)

    async def _measure(self, state: TurnState) -> float:
        """Take one sample, without reading anything else."""
        logs.task_is_about(gpu=state.lease.gpu, fence=state.lease.fence)
        self._remember_resident(state, await ask_residents(self._do, state.lease))
        return self._until_next_sample(state)

    def _until_next_sample(self, state: TurnState) -> float:
        """Return the seconds until the next sample is due, counted from the last one."""
        return max(0.0, state.sampled_at + self._policy.sample_interval - self._clock.monotonic())

    async def _read(self, gpu: str, state: TurnState | None) -> tuple[GpuLease | None, Observation | None]:
        """Read a GPU's Lease and all that it concerns, live; both None without a Lease.

        The objects are read in parallel, by the last known Lease, and again if that has changed. So the returned Lease
        was in force while they were read. If the scheduler has written it meanwhile, everything is read again: a turn
        that goes first is no reason to load. After a slow answer of the API server the residents are asked again, so
        that the measurement is recent.
        """
        if state is None:
            lease, seen = await self._do.leases.get(gpu), None
        else:
            state.changed = False
            lease, seen = await asyncio.gather(self._do.leases.get(gpu), survey(self._do, state.lease))
        if self._states.get(gpu) is not state:
            return await self._read(gpu, self._states.get(gpu))
        if lease is None:
            return None, None
        if state is None or seen is None or lease != state.lease:
            current = self._upsert_state(lease)
            current.changed = False
            if current is not state:  # another process began this turn
                current.unanswered_creation, current.is_pinned = self._clock.monotonic(), True
            seen = await survey(self._do, lease)
            if self._is_overtaken(lease):
                return await self._read(gpu, self._states.get(gpu))
        if self._clock.monotonic() - seen.readings.at > _SLOW_READ:
            seen = replace(seen, readings=await ask_residents(self._do, lease))
        return lease, seen

    def _is_overtaken(self, lease: GpuLease) -> bool:
        """True if the scheduler has assigned the GPU to a job since this Lease was read."""
        state = self._states.get(lease.gpu)
        return state is not None and state.lease.fence != lease.fence

    async def _view(self, lease: GpuLease, owner: JobKey | None, seen: Observation) -> TurnView:
        state = self._upsert_state(lease)
        self.concerns.pop(lease.gpu, None)
        if owner is not None:
            self.concerns[lease.gpu] = owner.holder
        self._remember_resident(state, seen.readings)
        state.note_job(unreadable=bool(seen.unreadable))
        state.note_pods(seen.pods)
        successor, preemptor = self._waiting_for(lease.gpu)
        job, pods = seen.job, seen.pods
        view = TurnView(
            now=self._clock.now(),
            policy=self._policy,
            lease=lease,
            resident=seen.readings.resident,
            others=seen.readings.residents[1:],
            context_mib=self.context_of(seen.readings.resident) if seen.readings.resident else CONTEXT_MIB,
            job=await self._kueue.granted(job) if job else None,
            pods=state.with_ended(pods),
            samples=tuple(state.samples),
            room=tuple(state.room),
            free_before=state.free_before,
            unload_message=state.unload_message,
            failure=state.failure,
            refusal=state.refusal,
            refused_for=state.seconds_since(state.refused_since),
            pod_may_appear=state.pod_may_appear(self._policy.request_timeout),
            load_failed=state.load_failed,
            resident_missing_for=state.seconds_since(state.resident_missing_since),
            unwilling_for=state.seconds_since(state.unwilling_since),
            silent_for=state.seconds_since(state.silent_since),
            successor=successor,
            preemptor=preemptor,
            withdrawal=self._kueue.withdrawal(job) if job else "",
            unreadable=seen.unreadable,
            unreadable_for=state.seconds_since(state.unreadable_since),
            workload=seen.workload,
            host=seen.host,
            node_label=seen.node_label,
            owned_gpus=seen.owned_gpus,
        )
        state.companions = self._companions(lease)
        return self._follower.completed(view, state) if view.is_workloads else await self._with_pod(view, state)

    def _companions(self, lease: GpuLease) -> tuple[TurnState, ...]:
        """Return the states of the other GPUs that the owner of a Lease has."""
        others = (each for gpu, each in self._states.items() if gpu != lease.gpu)
        return tuple(each for each in others if lease.owner is not None and each.lease.holder == lease.holder)

    async def _with_pod(self, view: TurnView, state: TurnState) -> TurnView:
        """Request the progress of the training, and without an answer the state of its node; once in an interval."""
        pod = view.own_pod
        if pod is None or pod.termination is not None:
            if pod is not None:
                state.clocks.start("return")
            return view
        if pod.waiting is None:
            state.clocks.stop("start")
        if self._clock.monotonic() - state.asked_at >= self._policy.progress_interval:
            state.asked_at = self._clock.monotonic()
            progress = await trainers.progress(self._do.http, pod)
            state.node_trouble = await self._do.nodes.trouble(pod.node) if pod.node and progress is None else ""
            state.progress = progress or state.progress
        pod = await self._do.pods.explain(pod, view.now, self._policy.progress_interval)
        state.note_start(failing=is_start_failure(pod))
        return replace(
            view,
            pods=tuple(pod if each.uid == pod.uid else each for each in view.pods),
            progress=state.progress,
            node_trouble=state.node_trouble,
            start_failing_for=state.seconds_since(state.start_failing_since),
        )

    def _upsert_state(self, lease: GpuLease) -> TurnState:
        """Return the state of a turn, with its current Lease."""
        state = self._states.get(lease.gpu)
        if state is None or (state.lease.fence, state.lease.holder) != (lease.fence, lease.holder):
            state = self._states[lease.gpu] = TurnState.of(lease, state, self._clock.monotonic)
        state.lease = lease
        return state

    def _remember_resident(self, state: TurnState, readings: ResidentReadings) -> None:
        resident = readings.resident
        report = resident.report if resident is not None else None
        silent = any(each.report is None for each in readings.residents)
        state.note_residents(missing=resident is None, silent=silent)
        if resident is None or report is None or silent:
            return
        state.reported_at = readings.at
        metrics.FREE_MEMORY.labels(state.lease.gpu).set(report.free_mib)
        metrics.describe_gpu(state.lease.gpu, resident.node, report.name)
        if state.free_before is None and report.held_under != state.lease.fence:
            state.free_before, state.allocated_before = report.free_mib, report.worker_allocated_mib
        self._learn_context(state, resident, report)
        state.take_sample(report, readings.at, keep=self._policy.samples, apart=self._policy.sample_interval)

    def _learn_context(self, state: TurnState, resident: Resident, report: GpuReport) -> None:
        """Learn from the first report after an unload; a later one may include the memory of a training."""
        if report.held_under != state.lease.fence or not state.allocated_before or state.free_before is None:
            return
        context = context_of(state.free_before, state.allocated_before, report.free_mib)
        state.allocated_before = 0
        if context is not None:
            self._contexts[resident.uid] = context

    async def _apply(self, view: TurnView, decision: Decision) -> float | None:
        job, lease = decision.job, view.lease

        async def act() -> None:
            if view.workload is not None:
                await self._follower.follow(view.workload, self._upsert_state(lease), decision)
            if decision.action is not None and not self._is_overtaken(lease):
                self._upsert_state(await self._actions.take(view, self._upsert_state(lease), decision.action))

        change = self._follower.change(view, self._upsert_state(lease), decision)
        if job is not None:
            change = Change(job, lease.fence, decision.status, decision.events, turn.facts(lease))
        outcome = await self._applier.apply(change, act)
        if outcome is Outcome.GONE:
            return _MISSING_RETRY
        return decision.requeue_after if outcome is Outcome.APPLIED and not self._is_overtaken(lease) else 0
