"""Prepare jobs, each in a pod without a GPU: a fixed number in each namespace, in the queue's order.

`share_out` decides which jobs may have a pod, from the cache alone. `reconcile` takes one step for one job, under its
own key in the work queue: a failure or a slow call for one job delays no other.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from gpu_relay.api.words import Reason
from gpu_relay.clients.kube import KubeError
from gpu_relay.clients.pods import PodNameTakenError
from gpu_relay.controllers.apply import Applier, Change, Outcome
from gpu_relay.controllers.kueue_controller import KueueController
from gpu_relay.controllers.preparation_observer import PreparationObserver
from gpu_relay.controllers.preparation_state import PreparationState, backoff
from gpu_relay.controllers.runtime.store import Cache
from gpu_relay.controllers.turn_actions import Effects
from gpu_relay.domain.decision import Decision, DeletePod, Prepare
from gpu_relay.domain.job import review
from gpu_relay.domain.job.preparation import PreparationView, is_due, is_under_way, pause, plan
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue import preparation_slots
from gpu_relay.domain.queue.preparation_placement import Obstacle, Place, find_place
from gpu_relay.observability import logs, metrics
from gpu_relay.pods.pod_builder import TrainerDefaults, preparing_pod

logger = logging.getLogger(__name__)
_RETRY = 0.5
_PROBE_POLL = 2.0


class PreparationController:
    """Reconciles the jobs that must be prepared."""

    def __init__(
        self,
        cache: Cache,
        effects: Effects,
        admissions: KueueController,
        policy: Policy,
        defaults: TrainerDefaults,
        *,
        wake: Callable[[str], None],
        share: Callable[[], None],
    ) -> None:
        """`wake` is called with the UID of a job to reconcile soon, `share` when slots must be distributed again."""
        self._cache = cache
        self._do = effects
        self._clock = effects.clock
        self._applier = Applier(effects.jobs, effects.events)
        self._kueue = admissions
        self._policy = policy
        self._defaults = defaults
        self._wake = wake
        self._share_soon = share
        self._due = cache.jobs.part(lambda job: is_due(job, policy) and not job.deleting)
        self._states: dict[str, PreparationState] = {}
        self._around = PreparationObserver(effects, policy)
        self._asked = False
        """True after all residents have had the time to report their GPUs."""

    def observe_pod(self, pod: TrainingPod, *, deleted: bool) -> None:
        """Take in a preparing pod from the watch."""
        pods = self._upsert_state(pod.job_uid).pods
        if pod.live and not deleted:
            pods[pod.uid] = pod
            return
        pods.pop(pod.uid, None)
        if not pods and pod.job_uid not in self._due:
            del self._states[pod.job_uid]

    def concerns(self, uid: str) -> bool:
        """True if a change of a job, or of its preparing pod, needs a reconcile."""
        job, state = self._cache.jobs.get(uid), self._states.get(uid)
        return bool(state is not None and state.pods) or (uid in self._due and job is not None and is_under_way(job))

    async def ask_residents(self) -> float | None:
        """Ask new residents for their GPU while some job must be prepared; return the seconds until the next time."""
        if not len(self._due):
            return None
        changed = await self._around.ask_residents()
        if not self._asked:
            self._asked = True
            self._share_soon()
        elif changed:
            for uid in [uid for uid, state in self._states.items() if state.obstructed]:
                self._wake(uid)
        return _PROBE_POLL if self._do.directory.unknown_pods() else None

    async def share_out(self) -> float | None:
        """Distribute the slots and wake the jobs concerned; return the seconds until the next time."""
        due = {job.key.uid: self._latest(job) for job in self._due.values()}
        self._states = {uid: state for uid, state in self._states.items() if uid in due or state.pods}
        jobs = [job for job in due.values() if self._concerned(job)]
        for uid in due.keys() - {job.key.uid for job in jobs}:
            self._upsert_state(uid).woken_for = None
        metrics.PREPARATIONS.set(sum(is_under_way(job) and not job.spec.suspend for job in jobs))
        if not self._asked:
            return None
        now = self._clock.now()
        obstructed = {uid for uid, state in self._states.items() if state.obstructed or state.rest()}
        shares = preparation_slots.share_out(jobs, obstructed, now, self._policy)
        for job in jobs:
            state = self._upsert_state(job.key.uid)
            state.share = shares.get(job.key.uid)
            signature = _signature(job, state.share)
            if state.woken_for != signature:
                state.woken_for = signature
                self._wake(job.key.uid)
        waits = [pause(job, now, self._policy) for job in jobs if not is_under_way(job)]
        waits += [self._states[job.key.uid].rests_until - self._clock.monotonic() for job in jobs]
        return min((seconds for seconds in waits if seconds > 0), default=None)

    async def reconcile(self, uid: str) -> float | None:
        """Reconcile one job; return the seconds until the next reconcile, None to wait for a change."""
        job, state = self._cache.jobs.get(uid), self._upsert_state(uid)
        if job is None:
            return None
        if rest := state.rest():
            return rest
        logs.task_is_about(job=str(job.key))
        try:
            await self._stop_strays(job, state)
            if uid not in self._due or not self._concerned(job):
                state.woken_for = None
                return None
            requeue_after = await self._reconcile(job, state)
        except KubeError as error:
            return self._failed(state, error)
        state.errors = 0
        return requeue_after

    def _failed(self, state: PreparationState, error: KubeError) -> float:
        """Pause a job after an error, and free its slot; return the seconds of the pause."""
        state.errors += 1
        requeue_after = backoff("error", state.errors)
        state.rests_until, state.woken_for = self._clock.monotonic() + requeue_after, None
        metrics.PASS_ERRORS.labels("preparation").inc()
        logger.warning("preparation failed; tries again in %.0f s: %s", requeue_after, error)
        self._share_soon()
        return requeue_after

    def _upsert_state(self, uid: str) -> PreparationState:
        return self._states.setdefault(uid, PreparationState(self._clock.monotonic))

    def _latest(self, job: Job) -> Job:
        """Return a job with the status that this process has written and the cache lacks."""
        state = self._states.get(job.key.uid)
        if state is None or state.written is None or state.written[0] != job.resource_version:
            return job
        return replace(job, status=state.written[1])

    def _concerned(self, job: Job) -> bool:
        return self._kueue.admits(job) and (is_under_way(job) or not job.spec.suspend)

    async def _stop_strays(self, cached: Job, state: PreparationState) -> None:
        """Delete preparing pods that the job's status no longer names, for example after a crash."""
        pods = [pod for pod in state.pods.values() if not pod.deleting]
        if all(_names(self._latest(cached), pod) for pod in pods):
            return
        job = await self._do.jobs.get(cached.key)
        for pod in pods:
            if job is not None and not _names(job, pod):
                await self._do.pods.delete(pod)
                state.pods.pop(pod.uid, None)

    async def _reconcile(self, job: Job, state: PreparationState) -> float | None:
        if self._latest(job) is not job or not self._asked:
            return _RETRY
        pod, other = None, None
        if is_under_way(job):
            pod, other = await self._find_pod(job)
            if pod is None and await self._do.jobs.get(job.key) is None:
                return None  # the job was just deleted, with its pod
        elif state.woken_for is None:
            return None  # until the slots are distributed
        place: Place | Obstacle = Place()
        if pod is None and self._may_begin(job):
            job = await self._kueue.granted(job)
            place = find_place(job, await self._around.read(job), self._policy)
            if self._must_ask(job, state, place):
                return None
        refusal, state.refusal = state.refusal, None
        obstacle = (place.reason, place.message) if isinstance(place, Obstacle) else None
        view = PreparationView(
            self._clock.now(), self._policy, job, pod, other, may_begin=state.share is True, obstacle=obstacle,
            refusal=refusal, failure=state.failure, retry_in=state.retry_in(),
        )  # fmt: skip
        decision = plan(view)
        outcome = await self._apply(job, state, decision, place)
        if outcome is not Outcome.APPLIED:
            return _RETRY if outcome is Outcome.CONFLICT else None  # the watch delivers a newer version
        return 0 if state.refusal else decision.requeue_after

    def _may_begin(self, job: Job) -> bool:
        """True if nothing about the job itself delays its preparing pod."""
        return not (job.spec.suspend or review.waits(job) or pause(job, self._clock.now(), self._policy) > 0)

    async def _find_pod(self, job: Job) -> tuple[TrainingPod | None, TrainingPod | None]:
        """Read the pod that the status names, live: the job's own, or one of another owner that has its name."""
        record = job.status.preparation
        pod = await self._do.pods.get(job.key.namespace, record.pod) if record is not None else None
        if pod is None or pod.job_uid != job.key.uid:
            return None, pod
        return await self._do.pods.explain(pod, self._clock.now(), self._policy.progress_interval), None

    def _must_ask(self, job: Job, state: PreparationState, place: Place | Obstacle) -> bool:
        """Record whether there is an obstacle; True for a job without one that must request a slot."""
        before = state.obstructed
        state.obstructed = before + 1 if isinstance(place, Obstacle) else 0
        if is_under_way(job):
            return False
        if state.obstructed and not before:  # its slot goes to another job
            state.share, state.woken_for = None, _signature(job, None)
            self._share_soon()
        if state.obstructed or state.share is not None:
            return False
        state.woken_for = None
        self._share_soon()
        return True

    async def _apply(self, job: Job, state: PreparationState, decision: Decision, place: Place | Obstacle) -> Outcome:
        await self._applier.publish_resumption(job)
        record = (decision.status or job.status).preparation
        number = record.number if record else 0
        change = Change(job, number, decision.status, decision.events, events_first=True)

        async def act() -> None:
            if decision.status is not None and decision.status != job.status:
                state.written = (job.resource_version, decision.status)
            match decision.action:
                case Prepare(number) if isinstance(place, Place):
                    await self._create(job, state, number, place)
                case DeletePod(pod):
                    await self._do.pods.delete(pod)

        return await self._applier.apply(change, act)

    async def _create(self, job: Job, state: PreparationState, number: int, place: Place) -> None:
        """Create a preparing pod; remember why the API server refused, or failed."""
        logger.info("preparation %d begins", number)
        try:
            await self._do.pods.create(preparing_pod(job, number, place, self._defaults))
        except PodNameTakenError as error:
            state.failure, state.failures = "", 0
            logger.info("%s", error)  # the next reconcile writes it into the status
        except KubeError as error:
            if error.invalid:
                message = f"the API server refuses the preparing pod: {error}; correct spec.podTemplate in a new job"
                state.refusal = (Reason.POD_REFUSED, message)
            elif error.refusal or error.status >= 500:
                state.failure, state.failures = str(error), state.failures + 1
                state.next_try = self._clock.monotonic() + backoff("creation", state.failures)
                logger.warning("the preparing pod could not be created: %s", error)
                metrics.PASS_ERRORS.labels("preparation").inc()
            else:
                raise
        else:
            state.failure, state.failures = "", 0


def _signature(job: Job, share: bool | None) -> tuple[int, int, bool | None]:
    record = job.status.preparation
    return job.generation, record.number if record else 0, share


def _names(job: Job, pod: TrainingPod) -> bool:
    """True if a job's status names this pod as the one that prepares it."""
    record = job.status.preparation
    return record is not None and is_under_way(job) and record.pod == pod.name
