"""What the watches have shown: jobs, resident pods, Workloads. Full lists are diffed in: they find missed deletions.

Nothing that costs memory when wrong is decided from it; it says where to look, live.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from gpu_relay.api import words
from gpu_relay.domain.model import Job
from gpu_relay.domain.reading import job_of
from gpu_relay.domain.workload import Workload
from gpu_relay.effects.workloads import workload_of

Object = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class ResidentPod:
    """A resident's pod, as the API server knows it."""

    namespace: str
    name: str
    uid: str
    node: str
    ip: str | None
    phase: str
    deleting: bool
    created: str
    labels: dict[str, str]
    annotations: dict[str, str]
    url: str = ""
    """Base URL of one outside the cluster; empty for a pod, which is reached at its address."""


class Part(Generic[T]):
    """Those objects of a store that something is true of, kept up with every change: nobody goes through the rest."""

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
        """Take in a new version of an object."""
        if self._belongs(item):
            self._items[uid] = item
        else:
            self.remove(uid)

    def remove(self, uid: str) -> None:
        """Forget an object."""
        self._items.pop(uid, None)


class Store(Generic[T]):
    """Objects by UID; an older version never replaces a newer one, nor brings back what is gone."""

    def __init__(self) -> None:
        self._items: dict[str, tuple[int, T]] = {}
        self._parts: list[Part[T]] = []
        self._gone: dict[str, int] = {}
        """The last versions of what was removed since the last full list was asked for: it may still show them."""

    def part(self, belongs: Callable[[T], bool]) -> Part[T]:
        """Return a part that follows this store. `belongs` must depend on nothing that changes but the object."""
        part = Part(belongs)
        for uid, (_, item) in self._items.items():
            part.put(uid, item)
        self._parts.append(part)
        return part

    def values(self) -> list[T]:
        """Return all objects."""
        return [item for _, item in self._items.values()]

    def get(self, uid: str) -> T | None:
        """Return an object, None where it is not known."""
        known = self._items.get(uid)
        return None if known is None else known[1]

    def __contains__(self, uid: str) -> bool:
        return uid in self._items

    def put(self, uid: str, version: str, item: T) -> None:
        """Add or update an object, unless a newer version is known, or is known to be gone."""
        number = _number(version)
        known = self._items.get(uid)
        if number > self._gone.get(uid, -1) and (known is None or known[0] <= number):
            self._items[uid] = (number, item)
            for part in self._parts:
                part.put(uid, item)

    def remove(self, uid: str, version: str) -> None:
        """Forget an object, this version of it and older ones."""
        self._drop(uid)
        self._gone[uid] = _number(version)

    def before_list(self) -> set[str]:
        """Return the UIDs of all objects; to be called before a full list is asked for, which `keep_only` then ends."""
        self._gone.clear()
        return set(self._items)

    def keep_only(self, uids: set[str], known_before: set[str]) -> set[str]:
        """Forget what was known before a full list and is not in it; return the UIDs forgotten."""
        gone = {uid for uid in known_before if uid not in uids and uid in self._items}
        for uid in gone:
            self._drop(uid)
        return gone

    def _drop(self, uid: str) -> None:
        self._items.pop(uid, None)
        for part in self._parts:
            part.remove(uid)


class Cache:
    """Jobs, resident pods, and the Workloads that stand for jobs in Kueue's queues."""

    def __init__(self, trusts_residents_of: Callable[[str], bool]) -> None:
        """`trusts_residents_of` says of a namespace whether its pods may be residents."""
        self._trusts = trusts_residents_of
        self.jobs: Store[Job] = Store()
        self.residents: Store[ResidentPod] = Store()
        self.workloads: Store[Workload] = Store()
        """By their job's UID: a job has one."""

    def see_job(self, raw: Object, *, deleted: bool = False) -> None:
        """Take in a job from a watch or a list."""
        meta = raw["metadata"]
        job = None if deleted else job_of(raw)
        if job is None:
            self.jobs.remove(meta["uid"], meta["resourceVersion"])
        else:
            self.jobs.put(meta["uid"], meta["resourceVersion"], job)

    def see_workload(self, raw: Object, *, deleted: bool = False) -> str:
        """Take in a Workload from a watch or a list; return its job's UID, empty where it is none of ours."""
        workload = workload_of(raw)
        known = self.workloads.get(workload.job_uid)
        if deleted:
            if known is not None and known.uid == workload.uid:
                self.workloads.remove(workload.job_uid, workload.resource_version)
        elif workload.job_uid:
            self.workloads.put(workload.job_uid, workload.resource_version, workload)
        return workload.job_uid

    def see_resident(self, raw: Object, *, deleted: bool = False) -> None:
        """Take in a resident's pod; pods that have ended hold no memory and are forgotten, strangers' never known."""
        meta, status = raw["metadata"], raw.get("status", {})
        if not self._trusts(meta["namespace"]):
            return
        if deleted or status.get("phase") in {"Succeeded", "Failed"}:
            self.residents.remove(meta["uid"], meta["resourceVersion"])
            return
        pod = ResidentPod(
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta["uid"],
            node=raw.get("spec", {}).get("nodeName", ""),
            ip=status.get("podIP"),
            phase=status.get("phase", "Pending"),
            deleting="deletionTimestamp" in meta,
            created=meta["creationTimestamp"],
            labels={k: v for k, v in meta.get("labels", {}).items() if k != words.LABEL_RESIDENT},
            annotations={k: v for k, v in meta.get("annotations", {}).items() if k.startswith(f"{words.GROUP}/")},
        )
        self.residents.put(meta["uid"], meta["resourceVersion"], pod)


def _number(version: str) -> int:
    return int(version) if version.isdecimal() else 0
