"""What the watches have shown: jobs, resident pods, Workloads. Full lists are diffed in: they find missed deletions.

No decision that could cost memory is made from it alone; it shows what to read live.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from gpu_relay.clients.workloads import workload_of
from gpu_relay.domain.kueue.workload import Workload
from gpu_relay.domain.objects.checked_workload import CheckedWorkload
from gpu_relay.domain.objects.job import Job, UnreadableJob, UnreadableJobError, job_of
from gpu_relay.domain.objects.resident import DEFAULT_PORT, ResidentPod, resident_pod_of

logger = logging.getLogger(__name__)
Object = dict[str, Any]
T = TypeVar("T")


class FilteredIndex(Generic[T]):
    """The objects of a store that match a predicate, updated with every change, so no pass iterates over the rest."""

    def __init__(self, belongs: Callable[[T], bool]) -> None:
        self._belongs = belongs
        self._items: dict[str, T] = {}

    def values(self) -> list[T]:
        """Return all its objects."""
        return list(self._items.values())

    def __contains__(self, uid: str) -> bool:
        return uid in self._items

    def __len__(self) -> int:
        return len(self._items)

    def put(self, uid: str, item: T) -> None:
        """Store a new version of an object; one for which the predicate fails is left out (law 8)."""
        try:
            belongs = self._belongs(item)
        except Exception:
            logger.exception("the predicate of object %s failed: it is left out", uid)
            belongs = False
        if belongs:
            self._items[uid] = item
        else:
            self.remove(uid)

    def remove(self, uid: str) -> None:
        """Forget an object."""
        self._items.pop(uid, None)


class Store(Generic[T]):
    """Objects by UID; an older version never replaces a newer one, or a deletion."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._items: dict[str, tuple[int, T]] = {}
        self._parts: list[FilteredIndex[T]] = []
        self._empty_since = self._monotonic()
        self._gone: dict[str, int] = {}
        """The last versions of objects removed since the last full list was requested, which may still contain them."""

    def part(self, belongs: Callable[[T], bool]) -> FilteredIndex[T]:
        """Return an index that follows this store. `belongs` must depend on the object alone."""
        part = FilteredIndex(belongs)
        for uid, (_, item) in self._items.items():
            part.put(uid, item)
        self._parts.append(part)
        return part

    def values(self) -> list[T]:
        """Return all objects."""
        return [item for _, item in self._items.values()]

    def get(self, uid: str) -> T | None:
        """Return an object; None if it is not known."""
        known = self._items.get(uid)
        return None if known is None else known[1]

    def __contains__(self, uid: str) -> bool:
        return uid in self._items

    def put(self, uid: str, version: str, item: T) -> None:
        """Add or update an object, unless a newer version or its deletion is known."""
        if not self.outdates(uid, version):
            self._items[uid] = (_number(version), item)
            for part in self._parts:
                part.put(uid, item)

    def outdates(self, uid: str, version: str) -> bool:
        """True if a newer version of an object, or the deletion of this one, is known."""
        number, known = _number(version), self._items.get(uid)
        return number <= self._gone.get(uid, -1) or (known is not None and known[0] > number)

    def remove(self, uid: str, version: str) -> None:
        """Forget an object, this version of it and older ones."""
        self._drop(uid)
        self._gone[uid] = _number(version)

    def begin_relist(self) -> set[str]:
        """Return the UIDs of all objects. Call it before a full list is requested; `end_relist` ends it."""
        self._gone.clear()
        return set(self._items)

    def end_relist(self, uids: set[str], known_before: set[str]) -> set[str]:
        """Remove what was known before a full list and is not in it; return the removed UIDs."""
        gone = {uid for uid in known_before if uid not in uids and uid in self._items}
        for uid in gone:
            self._drop(uid)
        return gone

    def empty_for(self) -> float:
        """Return for how many seconds the store has been empty, since the start at most; 0 if it is not."""
        return 0.0 if self._items else self._monotonic() - self._empty_since

    def _drop(self, uid: str) -> None:
        if self._items.pop(uid, None) is not None and not self._items:
            self._empty_since = self._monotonic()
        for part in self._parts:
            part.remove(uid)


class Cache:
    """Jobs, resident pods, and the Workloads of jobs in Kueue's queues."""

    def __init__(
        self,
        trusts_residents_of: Callable[[str], bool],
        resident_port: int = DEFAULT_PORT,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`trusts_residents_of` returns whether the pods of a namespace may be residents.

        `resident_port` is the port of the API of residents whose pods do not declare one.
        """
        self.trusts = trusts_residents_of
        self._resident_port = resident_port
        self.jobs: Store[Job] = Store()
        self.delegated: Store[Job] = Store()
        """Jobs that another controller runs, by `spec.managedBy`; none of them is in `jobs`."""
        self.unreadable: Store[UnreadableJob] = Store()
        """Jobs that exist and cannot be read: no decision is made about them, and they do not count as deleted."""
        self.residents: Store[ResidentPod] = Store(monotonic)
        self.workloads: Store[Workload] = Store()
        """By their job's UID: a job has one."""
        self.checked: Store[CheckedWorkload] = Store()
        """The Workloads of all kinds that have the operator's admission check."""

    def observe_job(self, raw: Object, *, deleted: bool = False) -> None:
        """Store a job from a watch or a list."""
        uid, version = raw["metadata"]["uid"], raw["metadata"]["resourceVersion"]
        stores: tuple[Store[Any], ...] = (self.jobs, self.delegated, self.unreadable)
        if deleted:
            for store in stores:
                store.remove(uid, version)
            return
        if any(store.outdates(uid, version) for store in stores):
            return
        own, item = self._place_of(raw)
        for store in stores:
            if store is not own:
                store.remove(uid, version)
        own.put(uid, version, item)

    def _place_of(self, raw: Object) -> tuple[Store[Any], Job | UnreadableJob]:
        """Return a job, and the store that it belongs to."""
        try:
            job = job_of(raw)
        except UnreadableJobError as error:
            return self.unreadable, error.job
        return self.delegated if job.spec.managed_by else self.jobs, job

    def job(self, uid: str) -> Job | None:
        """Return a job, also one that another controller runs; None if it is not known, or cannot be read."""
        return self.jobs.get(uid) or self.delegated.get(uid)

    def observe_workload(self, raw: Object, *, deleted: bool = False) -> str:
        """Store a Workload from a watch or a list; return its job's UID, empty for other Workloads."""
        workload = workload_of(raw)
        known = self.workloads.get(workload.job_uid)
        if deleted:
            if known is not None and known.uid == workload.uid:
                self.workloads.remove(workload.job_uid, workload.resource_version)
        elif workload.job_uid:
            self.workloads.put(workload.job_uid, workload.resource_version, workload)
        return workload.job_uid

    def observe_checked(self, workload: CheckedWorkload, *, deleted: bool = False) -> None:
        """Store a Workload from a watch or a list; one that has no check of the operator is removed."""
        uid, version = workload.key.uid, workload.resource_version
        if self.checked.outdates(uid, version):
            return
        if deleted or workload.entry is None:
            self.checked.remove(uid, version)
        else:
            self.checked.put(uid, version, workload)

    def observe_resident(self, raw: Object, *, deleted: bool = False) -> None:
        """Store a resident's pod; ended pods hold no memory and are removed, untrusted ones are never stored."""
        meta, status = raw["metadata"], raw.get("status", {})
        if not self.trusts(meta["namespace"]):
            return
        if deleted or status.get("phase") in {"Succeeded", "Failed"}:
            self.residents.remove(meta["uid"], meta["resourceVersion"])
            return
        pod = resident_pod_of(raw, self._resident_port)
        self.residents.put(meta["uid"], meta["resourceVersion"], pod)


def _number(version: str) -> int:
    return int(version) if version.isdecimal() else 0
