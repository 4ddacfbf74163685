"""One job's changes, as they come."""

import time
from collections.abc import Generator, Iterator
from math import ceil

from gpu_relay.clients.resources import JOBS
from gpu_relay.domain.objects.job import Job
from kubectl_relay.effects.cluster import ApiError, BrokenError, Cluster
from kubectl_relay.effects.snapshot_reader import SnapshotReader, readable
from kubectl_relay.exits import Exit, RelayError

_WATCH_SECONDS = 60
_TRIES = 10
_PAUSE = 2.0
_GONE = 410
"""Status of a watch whose version is too old: the job is read again."""


def changes(
    cluster: Cluster, reader: SnapshotReader, namespace: str, name: str, timeout: float | None
) -> Iterator[Job]:
    """Yield a job as it is, and after each change, for as long as the caller iterates.

    A connection that breaks is made again. Raises RelayError when the job is deleted, replaced by another of its name,
    or when `timeout` seconds have passed.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    job = reader.job(namespace, name)
    yield job
    while True:
        left = _WATCH_SECONDS if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise RelayError(f"{job.key} has not ended within {timeout:g} s", Exit.TIMED_OUT)
        seconds = min(_WATCH_SECONDS, ceil(left))
        job = yield from _watch(cluster, job, seconds)
        job = yield from _reread(reader, job)


def _watch(cluster: Cluster, job: Job, seconds: int) -> Generator[Job, None, Job]:
    """Yield a job's changes for so many seconds, or until the connection breaks; return it as it was last seen."""
    key = job.key
    try:
        for kind, raw in cluster.watch(JOBS, key.namespace, key.name, version=job.resource_version, seconds=seconds):
            if kind == "DELETED":
                raise _gone(job)
            job = readable(raw)
            yield job
    except BrokenError:
        time.sleep(_PAUSE)
    except ApiError as error:
        if error.status != _GONE:
            raise
    return job


def _reread(reader: SnapshotReader, job: Job) -> Generator[Job, None, Job]:
    """Read the job again, with retries; yield it where it has changed."""
    key = job.key
    for attempt in range(1, _TRIES + 1):
        try:
            now = reader.job(key.namespace, key.name)
        except RelayError as error:
            if error.code == Exit.NOT_FOUND:
                raise _gone(job) from error
            if not isinstance(error, BrokenError) or attempt == _TRIES:
                raise
            time.sleep(_PAUSE)
            continue
        if now.key.uid != key.uid:
            raise _gone(job)
        if now.resource_version != job.resource_version:
            yield now
        return now
    raise AssertionError("the last try returns or raises")


def _gone(job: Job) -> RelayError:
    return RelayError(f"{job.key} was deleted", Exit.JOB_DELETED)
