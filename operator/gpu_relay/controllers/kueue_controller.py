"""Request admission by Kueue for jobs whose label names a LocalQueue."""

import logging
from dataclasses import dataclass, replace

from gpu_relay.api.words import MULTIKUEUE
from gpu_relay.clients.workloads import pod_set_template, request_hash
from gpu_relay.controllers.apply import Applier, Change, Outcome
from gpu_relay.controllers.kueue_discovery import KueueDiscovery
from gpu_relay.controllers.runtime.store import Cache
from gpu_relay.controllers.turn_actions import Effects
from gpu_relay.domain.kueue import admission
from gpu_relay.domain.kueue.admission import AdmissionView
from gpu_relay.domain.kueue.workload import (
    AdmissionAction,
    AdoptWorkload,
    AskForQuota,
    ChangeAction,
    ChangeRequest,
    FinishWorkload,
    ReturnQuota,
    SayPodsReady,
    WithdrawRequest,
    Workload,
)
from gpu_relay.domain.objects.job import Job
from gpu_relay.pods.pod_builder import TrainerDefaults, requested_pod

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KueueController:
    """Reconciles the Workloads of jobs."""

    cache: Cache
    effects: Effects
    defaults: TrainerDefaults
    discovery: KueueDiscovery

    def concerns(self, job: Job) -> bool:
        """True for a job that Kueue manages, or has managed."""
        if job.spec.managed_by not in {None, MULTIKUEUE}:
            return False
        return bool(job.local_queue) or job.key.uid in self.cache.workloads

    def admits(self, job: Job) -> bool:
        """True for a job that may be prepared and wait for a GPU."""
        return not job.local_queue or admission.admits(job, self._workload(job))

    def withdrawal(self, job: Job) -> str:
        """Return why a job must not continue its turn; empty if it may. A missing Kueue stops no job."""
        return "" if self.effects.workloads.absence else admission.withdrawal(job, self._workload(job))

    async def granted(self, job: Job) -> Job:
        """Return a job with what Kueue has granted it."""
        workload = self._workload(job)
        if not job.local_queue or workload is None:
            return job
        return replace(job, grant=await self.effects.workloads.grant_of(workload))

    async def reconcile(self, uid: str) -> float | None:
        """Reconcile one job; return the seconds until the next reconcile, None to wait for a change."""
        job = self.cache.job(uid)
        if job is None:
            return None
        absent = bool(self.effects.workloads.absence)
        if job.local_queue and absent and await self.discovery.is_found_later():
            return None
        template = pod_set_template(requested_pod(job, self.defaults))
        absence = self.effects.workloads.absence
        view = AdmissionView(self.effects.clock.now(), job, self._workload(job), request_hash(template), absence)
        decision = admission.plan_delegated(view) if job.spec.managed_by else admission.plan(view)
        applier = Applier(self.effects.jobs, self.effects.events)
        await applier.publish_resumption(job)
        change = Change(job, job.next_attempt, decision.status, decision.events)
        outcome = await applier.apply(change, lambda: self._take(job, decision.action))
        # Without success, the watch delivers a newer version of the job or of the Workload.
        return decision.requeue_after if outcome is Outcome.APPLIED else None

    def _workload(self, job: Job) -> Workload | None:
        return self.cache.workloads.get(job.key.uid)

    async def _take(self, job: Job, action: AdmissionAction | None) -> None:
        if action is None:
            return
        logger.info("%s: %s", job.key, type(action).__name__)
        store = self.effects.workloads
        match action:
            case AskForQuota():
                await store.create(job, pod_set_template(requested_pod(job, self.defaults)))
            case AdoptWorkload():
                await store.adopt(job)
            case _:
                await self._change(action)

    async def _change(self, action: ChangeAction) -> None:
        store, now = self.effects.workloads, self.effects.clock.now()
        match action:
            case WithdrawRequest(workload):
                await store.delete(workload)
            case ChangeRequest(workload, queue, priority):
                await store.change(workload, queue, priority)
            case ReturnQuota(workload):
                await store.return_quota(workload, now)
            case SayPodsReady(workload):
                await store.report_pods_ready(workload, now)
            case FinishWorkload(workload, reason, message):
                await store.finish(workload, now, reason, message)
