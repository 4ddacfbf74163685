"""The manager: a cache that watches and resyncs fill, and a work queue with several kinds of keys.

`admission/<uid>` requests admission by Kueue; `preparations` decides which jobs may be prepared without a GPU, and
`preparation/<uid>` prepares one; `residents` asks new residents for their GPU while jobs must be prepared; `queue`
assigns free GPUs to what waits, `prospects` writes what the other jobs wait for, and `checks` answers the admission
checks of Kueue; `gpu/<name>` reconciles the turn of one GPU; `finished` deletes jobs after their time to live;
`unreadable` reports jobs that cannot be read; `leases`, the first key of a new leader, requeues every GPU with a Lease.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

from gpu_relay.clients.kube import Kube, KubeError
from gpu_relay.controllers import health
from gpu_relay.controllers.apply import Applier
from gpu_relay.controllers.kueue_controller import KueueController
from gpu_relay.controllers.kueue_discovery import KueueDiscovery
from gpu_relay.controllers.lease_gc_controller import LeaseGCController
from gpu_relay.controllers.preparation_controller import PreparationController
from gpu_relay.controllers.queue_status_controller import QueueStatusController
from gpu_relay.controllers.runtime.isolation import Isolation
from gpu_relay.controllers.runtime.rate_limit import RateLimit
from gpu_relay.controllers.runtime.resync import Resync, identity
from gpu_relay.controllers.runtime.store import Cache
from gpu_relay.controllers.runtime.watch_lag import WatchLag
from gpu_relay.controllers.runtime.workqueue import WorkQueue
from gpu_relay.controllers.scheduler import Scheduler
from gpu_relay.controllers.ttl_controller import TTLController
from gpu_relay.controllers.turn_actions import Effects
from gpu_relay.controllers.turn_controller import TurnController
from gpu_relay.controllers.unreadable_job_controller import UnreadableJobController
from gpu_relay.controllers.workload_controller import WorkloadController
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.objects.pod import training_pod_of
from gpu_relay.domain.queue.status_throttle import is_same
from gpu_relay.domain.turn_view import Preemptor
from gpu_relay.observability import metrics
from gpu_relay.settings import Settings

logger = logging.getLogger(__name__)
Object = dict[str, Any]
_GPU = "gpu/"
_ADMISSION = "admission/"
_PREPARATION = "preparation/"
_LEASES = "leases"
_LIST_RETRY = 2.0
_SECOND_LIST = 5.0
_SHARE_OF_QUEUE = 0.5
"""Share of the time for the queue: it has more passes than anything else, and handovers continue meanwhile."""


class _Key(StrEnum):
    """Keys of the work queue that any change may concern; others name a GPU, or a job by its UID."""

    RESIDENTS = "residents"
    PREPARATIONS = "preparations"
    QUEUE = "queue"
    PROSPECTS = "prospects"
    FINISHED = "finished"
    UNREADABLE = "unreadable"
    CHECKS = "checks"


class Manager:
    """Ties cache, queue, scheduler and turns together.

    The handlers call `observe_*`, and `follow` reads full lists, at all times; `work` acts, while this process leads.
    """

    def __init__(self, kube: Kube, cache: Cache, effects: Effects, settings: Settings) -> None:
        self._cache = cache
        self._effects = effects
        self._settings = settings
        self._queue = WorkQueue(self._handle)
        self._monotonic = effects.clock.monotonic
        self._rate_limit = RateLimit(self._monotonic)
        self._synced = asyncio.Event()
        self._lag = WatchLag()
        self._resync = Resync(kube, cache, effects, self._lag)
        metrics.RESYNC_AGE.set_function(lambda: self._resync.age)
        metrics.WATCH_LAG.set_function(lambda: self._lag.seconds(self._monotonic()))
        metrics.WORK_OVERDUE.set_function(self._queue.overdue)
        policy = settings.policy()
        defaults = settings.trainer_defaults()
        self.discovery = KueueDiscovery(effects.workloads, effects.checks)
        self._kueue = KueueController(cache, effects, defaults, self.discovery)
        self._turns = TurnController(effects, policy, defaults, self._queue_soon, self._waiting_for, self._kueue)
        self._scheduler = Scheduler(
            cache, effects, self._turns, self._kueue, policy, defaults, requeue=self._requeue_soon
        )
        self._queue_status = QueueStatusController(
            cache, Applier(effects.jobs, effects.events), effects.clock, policy, self._scheduler.outcome
        )
        self._preparations = PreparationController(
            cache, effects, self._kueue, policy, defaults, wake=self._prepare_soon, share=self._share_soon
        )
        self._ttl = TTLController(cache, effects.jobs, effects.clock)
        self._collector = LeaseGCController(effects, settings.usage_days)
        self._unreadable = UnreadableJobController(cache, effects)
        self._workloads = WorkloadController(
            cache, effects, self._scheduler.outcome, changed=self._workload_changed, found=self.discovery.check_appeared
        )
        self._passes: dict[str, Callable[[], Awaitable[float | None]]] = {
            _Key.PREPARATIONS: self._preparations.share_out,
            _Key.FINISHED: self._ttl.reconcile,
            _Key.UNREADABLE: self._unreadable.reconcile,
            _Key.PROSPECTS: self._queue_status.reconcile,
            _Key.CHECKS: self._workloads.reconcile,
        }
        self._watch_isolation = Isolation("watch", self._monotonic)

    async def follow(self) -> None:
        """Read full lists until cancelled, to find what a watch has missed.

        The second one follows soon: no watch delivers what is deleted between the first one and its start.
        """
        pauses = iter((_SECOND_LIST,))
        while True:
            try:
                await self.discovery.is_found_later()
                for uid in await self._resync.read():
                    self._reconcile_admission(uid)
                    self._reconcile_preparation(uid)
            except KubeError as error:
                logger.warning("a full list could not be read, the next attempt follows: %s", error)
                await asyncio.sleep(_LIST_RETRY)
            else:
                self._synced.set()
                self._queue_soon()
                await asyncio.sleep(next(pauses, self._settings.resync_interval))

    async def work(self) -> None:
        """Act until cancelled, after the first full lists; every GPU with a Lease is reconciled first."""
        await self._synced.wait()
        self._queue.put(_LEASES)
        self._queue_soon()
        await self._queue.run()

    def observe_job(self, raw: Object, *, deleted: bool) -> None:
        """Store a job from the watch; requeue its GPU, and the queue unless only its position has changed."""
        with self._watch_isolation.guard(*identity(raw)):
            self._observe_job(raw, deleted)

    def _observe_job(self, raw: Object, deleted: bool) -> None:
        meta = raw["metadata"]
        before = self._cache.job(meta["uid"])
        self._cache.observe_job(raw, deleted=deleted)
        after = self._cache.job(meta["uid"])
        self._lag.observed(meta["uid"], meta["resourceVersion"], deleted=deleted)
        self._reconcile_admission(meta["uid"])
        self._reconcile_preparation(meta["uid"])
        own = self._effects.jobs.is_own_write(meta["uid"], meta["resourceVersion"])
        for gpu in [] if own else self._turns.gpus_of(JobKey(meta["namespace"], meta["name"], meta["uid"])):
            self._requeue_soon(gpu)
        if before is None or after is None or not is_same(after, before):
            self._queue_soon()

    def observe_workload(self, raw: Object, *, deleted: bool) -> None:
        """Store a Workload from the watch; requeue its job's admission, its GPU, and the queue."""
        with self._watch_isolation.guard(*identity(raw)):
            self._observe_workload(raw, deleted)

    def observe_check(self, raw: Object, *, deleted: bool) -> None:
        """Pass an AdmissionCheck of Kueue on from the watch."""
        with self._watch_isolation.guard(*identity(raw)):
            self._workloads.observe_check(raw, deleted=deleted)
            self._queue.put(_Key.CHECKS)

    def _workload_changed(self, key: JobKey) -> None:
        for gpu in self._turns.gpus_of(key):
            self._requeue_soon(gpu)
        self._queue_soon()

    def _observe_workload(self, raw: Object, deleted: bool) -> None:
        self._workloads.observe(raw, deleted=deleted)
        uid = self._cache.observe_workload(raw, deleted=deleted)
        self._lag.observed(raw["metadata"]["uid"], raw["metadata"]["resourceVersion"], deleted=deleted)
        job = self._cache.job(uid)
        if job is None:
            return
        self._reconcile_admission(uid)
        for gpu in self._turns.gpus_of(job.key):
            self._requeue_soon(gpu)
        self._queue_soon()

    def _reconcile_admission(self, uid: str) -> None:
        job = self._cache.job(uid)
        if job is not None and self._kueue.concerns(job):
            self._queue.put(_ADMISSION + uid)

    def _reconcile_preparation(self, uid: str) -> None:
        if self._preparations.concerns(uid):
            self._prepare_soon(uid)

    def _prepare_soon(self, uid: str) -> None:
        self._queue.put(_PREPARATION + uid)

    def _share_soon(self) -> None:
        self._queue.put(_Key.PREPARATIONS, self._rate_limit.rest(_Key.PREPARATIONS))

    def observe_training_pod(self, raw: Object) -> None:
        """Requeue the GPU of a changed training pod, if it has a turn."""
        with self._watch_isolation.guard(*identity(raw)):
            pod = training_pod_of(raw)
            if pod.gpu in self._turns.concerns:
                self._turns.observe_end(pod)
                self._requeue_soon(pod.gpu)

    def observe_preparing_pod(self, raw: Object, *, deleted: bool) -> None:
        """Store a changed preparing pod; requeue its job's preparation."""
        with self._watch_isolation.guard(*identity(raw)):
            pod = training_pod_of(raw)
            self._preparations.observe_pod(pod, deleted=deleted)
            self._reconcile_preparation(pod.job_uid)

    def observe_resident(self, raw: Object, *, deleted: bool) -> None:
        """Store a resident's pod; requeue every GPU with a turn, since it may be theirs."""
        with self._watch_isolation.guard(*identity(raw)):
            self._observe_resident(raw, deleted)

    def _observe_resident(self, raw: Object, deleted: bool) -> None:
        meta = raw["metadata"]
        logger.debug("watch: resident pod %s/%s%s", meta["namespace"], meta["name"], " is gone" if deleted else "")
        self._cache.observe_resident(raw, deleted=deleted)
        self._lag.observed(meta["uid"], meta["resourceVersion"], deleted=deleted)
        for gpu in list(self._turns.concerns):
            self._requeue_soon(gpu)
        self._queue_soon()

    def unhealthy(self) -> str | None:
        """Return why the process makes no progress; None while it does."""
        return health.problem(self._settings, self._queue, self._resync.age, self._lag.seconds(self._monotonic()))

    def ready(self) -> bool:
        """True once the first full lists have been read."""
        return self._resync.is_done

    def _waiting_for(self, gpu: str) -> tuple[str, Preemptor | None]:
        return self._scheduler.successor(gpu), self._scheduler.preemption.preemptors.get(gpu)

    def _queue_soon(self) -> None:
        for key in (_Key.QUEUE, _Key.RESIDENTS, _Key.PREPARATIONS, _Key.FINISHED, _Key.UNREADABLE):
            self._queue.put(key, self._rate_limit.rest(key))

    async def _handle(self, key: str) -> float | None:
        match key:
            case _Key.QUEUE:
                return await self._rate_limit.keep(key, self._schedule(), _SHARE_OF_QUEUE)
            case _Key.RESIDENTS:
                return await self._preparations.ask_residents()
            case _ if key in self._passes:
                return await self._rate_limit.keep(key, self._passes[key]())
            case _ if key == _LEASES:
                return await self._reconcile_gpus()
            case _:
                return await self._reconcile_gpu(key)

    async def _reconcile_gpu(self, key: str) -> float | None:
        """Reconcile what a key names: a job's admission, its preparation, or a GPU."""
        if key.startswith(_ADMISSION):
            return await self._kueue.reconcile(key.removeprefix(_ADMISSION))
        if key.startswith(_PREPARATION):
            return await self._preparations.reconcile(key.removeprefix(_PREPARATION))
        return await self._turns.reconcile(key.removeprefix(_GPU))

    async def _reconcile_gpus(self) -> float | None:
        """Requeue every GPU with a Lease, and collect the Leases of GPUs that no longer exist."""
        leases = await self._effects.leases.list()
        for lease in leases:
            self._requeue_soon(lease.gpu)
        await self._collector.collect(leases)
        return self._settings.resync_interval

    def _requeue_soon(self, gpu: str) -> None:
        """Requeue a GPU for a complete reconcile, since something has changed."""
        self._turns.observe_change(gpu)
        self._queue.put(_GPU + gpu)

    async def _schedule(self) -> float | None:
        requeue_after = await self._scheduler.schedule_once()
        for key in (_Key.PROSPECTS, _Key.CHECKS):
            self._queue.put(key, self._rate_limit.rest(key))
        return requeue_after
