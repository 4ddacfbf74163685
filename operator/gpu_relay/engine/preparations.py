"""Prepares jobs: a few at a time, in the queue's order, each in a pod without a GPU."""

import asyncio
import logging

from gpu_relay.api.words import Phase, Reason
from gpu_relay.domain.model import Job, Policy
from gpu_relay.domain.preparation import PreparationView, is_due, is_under_way, plan
from gpu_relay.domain.queue import queue_key
from gpu_relay.domain.steps import Decision, DeletePod, Notice, Prepare
from gpu_relay.effects import clock, logs, metrics
from gpu_relay.effects.kube import KubeError
from gpu_relay.effects.pod_builder import TrainerDefaults, preparing_pod
from gpu_relay.effects.pods import PodNameTakenError
from gpu_relay.engine.actions import Effects
from gpu_relay.engine.admissions import Admissions
from gpu_relay.engine.cache import Cache

logger = logging.getLogger(__name__)
_RETRY = 0.5


class Preparations:
    """Looks at all jobs that are to be prepared."""

    def __init__(
        self, cache: Cache, effects: Effects, admissions: Admissions, policy: Policy, defaults: TrainerDefaults
    ) -> None:
        self._cache = cache
        self._do = effects
        self._admissions = admissions
        self._policy = policy
        self._defaults = defaults
        self._due = cache.jobs.part(lambda job: is_due(job, policy) and not job.deleting)
        self._refusals: dict[str, tuple[Reason, str]] = {}
        """Why the API server would not have a job's pod, by UID; lost without harm."""

    async def look(self) -> float | None:
        """Take one step with each; return the seconds until the next look, None to wait for a change."""
        jobs = sorted((job for job in self._due.values() if self._concerns(job)), key=queue_key)
        running = sum(is_under_way(job) and not job.spec.suspend for job in jobs)
        metrics.PREPARATIONS.set(running)
        free, looks = self._policy.preparations - running, []
        for job in jobs:
            begins = not is_under_way(job) and not job.spec.suspend
            looks.append(self._step(job, may_begin=free > 0))
            free -= begins
        waits = [again for again in await asyncio.gather(*looks) if again is not None]
        return min(waits, default=None)

    def _concerns(self, job: Job) -> bool:
        return self._admissions.admits(job) and (is_under_way(job) or not job.spec.suspend)

    async def _step(self, cached: Job, *, may_begin: bool) -> float | None:
        try:
            return await self._look_at(cached, may_begin)
        except KubeError as error:
            if not (error.conflict or error.not_found):
                raise
            return _RETRY if error.conflict else None  # a newer view of the job is on its way

    async def _look_at(self, job: Job, may_begin: bool) -> float | None:
        logs.task_is_about(job=str(job.key))
        record = job.status.preparation
        pod = None
        if record is not None and is_under_way(job):
            pod = await self._do.pods.get(job.key.namespace, record.pod)
            pod = pod if pod is not None and pod.job_uid == job.key.uid else None
            if pod is None and await self._do.jobs.get(job.key) is None:
                return None  # deleted just now, and its pod with it
        refusal = self._refusals.pop(job.key.uid, None)
        decision = plan(PreparationView(clock.now(), self._policy, job, pod, may_begin, refusal))
        await self._apply(job, decision)
        return 0 if job.key.uid in self._refusals else decision.again_in

    async def _apply(self, job: Job, decision: Decision) -> None:
        """Write the status, then tell, then act."""
        if decision.status is not None:
            await self._do.jobs.write_status(job, decision.status)
        if job.status.phase == Phase.SUSPENDED and not job.spec.suspend:
            await self._tell(job, job.generation, Notice(Reason.RESUMED, "spec.suspend is false again"))
        number = decision.status.preparation.number if decision.status and decision.status.preparation else 0
        for notice in decision.notices:
            await self._tell(job, number, notice)
        match decision.step:
            case Prepare(number):
                await self._create(job, number)
            case DeletePod(pod):
                await self._do.pods.delete(pod)

    async def _tell(self, job: Job, number: int, notice: Notice) -> None:
        await self._do.events.emit(job.key, job.resource_version, number, notice)

    async def _create(self, job: Job, number: int) -> None:
        nodes = sorted({resident.node for resident in self._cache.residents.values() if resident.node})
        logger.info("preparation %d begins", number)
        try:
            await self._do.pods.create(preparing_pod(job, number, nodes, self._defaults))
        except PodNameTakenError as error:
            self._refusals[job.key.uid] = (Reason.POD_NAME_TAKEN, str(error))
        except KubeError as error:
            if not error.refusal:
                raise
            self._refusals[job.key.uid] = (Reason.POD_REFUSED, f"the API server refuses the preparing pod: {error}")
