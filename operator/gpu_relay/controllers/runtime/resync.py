"""Full lists, compared with the cache, to find what a watch has missed."""

import logging
from collections.abc import Callable
from typing import Any

from gpu_relay.api import words
from gpu_relay.clients.kube import Kube
from gpu_relay.controllers.runtime.isolation import Isolation
from gpu_relay.controllers.runtime.store import Cache, Store
from gpu_relay.controllers.runtime.watch_lag import WatchLag
from gpu_relay.controllers.turn_actions import Effects

logger = logging.getLogger(__name__)
Object = dict[str, Any]


class Listed:
    """The versions of the objects of a full list, by UID."""

    def __init__(self, isolation: Isolation) -> None:
        self.versions: dict[str, str] = {}
        self.complete = True
        """False if an object could not be identified: then no missing object counts as deleted."""
        self._isolation = isolation

    def take_in(self, raw: Object, observe: Callable[[Object], object]) -> None:
        """Store an object with `observe`; an error about one is logged, and the list continues."""
        with self._isolation.guard(*identity(raw)):
            try:
                self.versions[raw["metadata"]["uid"]] = raw["metadata"]["resourceVersion"]
            except (KeyError, TypeError):
                self.complete = False
                raise
            observe(raw)


class Resync:
    """Reads jobs, resident pods and Workloads whole."""

    def __init__(self, kube: Kube, cache: Cache, effects: Effects, lag: WatchLag) -> None:
        self._kube = kube
        self._cache = cache
        self._effects = effects
        self._lag = lag
        self._monotonic = effects.clock.monotonic
        self._isolation = Isolation("resync", self._monotonic)
        self._read_at: float | None = None

    @property
    def age(self) -> float:
        """Seconds since the last full lists were read; 0 before the first."""
        return 0.0 if self._read_at is None else self._monotonic() - self._read_at

    @property
    def is_done(self) -> bool:
        """True once full lists have been read."""
        return self._read_at is not None

    async def read(self) -> set[str]:
        """Read full lists into the cache; return the UIDs of all jobs. Raise KubeError."""
        cache, known_before = self._cache, self._lag.known()
        of_jobs: tuple[Store[Any], ...] = (cache.jobs, cache.delegated, cache.unreadable)
        stores = (*of_jobs, cache.residents, cache.workloads, cache.checked)
        known = [store.begin_relist() for store in stores]
        jobs, residents, workloads, checked = (Listed(self._isolation) for _ in range(4))
        async for raw in self._kube.each(self._effects.jobs.list_path):
            jobs.take_in(raw, cache.observe_job)
        async for raw in self._kube.each(self._effects.pods.list_path, labels=words.LABEL_RESIDENT):
            residents.take_in(raw, cache.observe_resident)
        stood_for: set[str] = set()
        for raw in await self._effects.workloads.list():
            stood_for.add(_job_uid(raw))
            workloads.take_in(raw, cache.observe_workload)
        for raw in await self._effects.checks.list():
            checked.take_in(raw, self._observe_checked)
        self._lag.listed(jobs.versions | residents.versions | workloads.versions, known_before, self._monotonic())
        lists = (jobs, jobs, jobs, residents, workloads, checked)
        shown = (*(set(jobs.versions) for _ in of_jobs), set(residents.versions), stood_for, set(checked.versions))
        for store, listed, uids, before in zip(stores, lists, shown, known, strict=True):
            gone = store.end_relist(uids, before) if listed.complete else ()
            if gone:
                logger.info("resync: %d deletions had been missed", len(gone))
        self._read_at = self._monotonic()
        return set(jobs.versions)

    def _observe_checked(self, raw: Object) -> None:
        self._cache.observe_checked(self._effects.checks.read(raw))


def _job_uid(workload: Object) -> str:
    meta = workload.get("metadata") or {}
    return str((meta.get("labels") or {}).get(words.LABEL_JOB_UID, ""))


def identity(raw: Object) -> tuple[str, str]:
    """Return the UID and the name of an object, for logs; empty and `?` if it lacks them."""
    meta = raw.get("metadata") or {}
    return str(meta.get("uid", "")), f"{meta.get('namespace', '?')}/{meta.get('name', '?')}"
