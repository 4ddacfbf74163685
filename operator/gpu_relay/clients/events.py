"""Events on jobs, and on the objects that Workloads represent.

Each is written once: its name has job, turn and reason, so a restarted operator repeats none.

They are written through core/v1: only there may `lastTimestamp` be set beside `eventTime`, and `kubectl describe` sorts
by it (https://github.com/kubernetes/kubernetes/pull/93663). It has whole seconds; Events of the same second are shown
in the order of their names.
"""

import os
import socket
from collections.abc import Mapping

from gpu_relay.api import words
from gpu_relay.clients import clock
from gpu_relay.clients.kube import Kube, KubeError
from gpu_relay.clients.resources import WORKLOADS
from gpu_relay.domain.decision import EventRecord
from gpu_relay.domain.objects.event import REPORTER
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.objects.represented import Represented
from gpu_relay.domain.quantities import timestamp

_IN_ORDER = """
    WaitingForKueue KueueMissing Admitted WaitingToPrepare Preparing PreparationFailed Prepared WaitingInQueue
    ResidentServing ResidentBusy WaitingForBackoff NoGpuFits InvalidSpec Resumed GPULeased UnloadingResident
    ResidentUnloaded ResidentUnreachable ResidentRefused ResidentMissing ResidentRestarted WaitingForMemory
    GPUStillInUse MemoryProven PodCreated PodNotStarted Unschedulable ImagePullFailed ContainerNotCreated
    PodRefused PodNameTaken TrainingRunning YieldingToResident Suspended Preempted QuotaWithdrawn DeadlineExceeded
    Stopping PodStuck NodeLost TrainingEnded GPUReturned GPUPassedOn ResidentLoaded ResidentLoadFailed NoResident
    BackoffLimitExceeded Completed Interrupted GpuMemoryUnavailable WrongGpu OutOfMemory DatasetInvalid
    ConfigInvalid OOMKilled Evicted Disrupted Error PodLost
"""
_PLACES = {reason: place for place, reason in enumerate(_IN_ORDER.split())}
"""Positions of reasons in the names of Events, in the order of a turn. They never change: names are the same in every
version.

A new reason is added at the end, or is not listed; its position is then `_LAST`.
"""
_LAST = 99
_NOTE_LIMIT = 1024
_WORKLOADS = f"{WORKLOADS.group}/{WORKLOADS.version}"
_REMEMBERED = 10_000


class EventRecorder:
    """A writer of Events. An Event that cannot be written is dropped."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._instance = os.environ.get("POD_NAME") or socket.gethostname()
        self._seen: dict[str, None] = {}

    async def emit(
        self,
        job: JobKey,
        resource_version: str,
        turn: int,
        notice: EventRecord,
        facts: Mapping[str, str] | None = None,
        represents: Represented | None = None,
    ) -> None:
        """Write an Event, once for each job, turn and reason; `facts` of the turn become annotations.

        An Event about a Workload is on the object that it `represents`, or without one on the Workload itself.
        """
        reason = notice.reason
        name = f"{job.name}.{job.uid[:8]}.{turn}.{_PLACES.get(reason, _LAST):02}.{reason.value.lower()}"
        if job.is_workload:  # it may have turns with equal fences on several GPUs
            name += f".{(facts or {}).get(words.LABEL_GPU, '')[-12:]}".rstrip(".")
        key = f"{job.namespace}/{name}"
        if key in self._seen:
            return
        now = clock.now()
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": name,
                "namespace": job.namespace,
                "annotations": {**(facts or {}), **notice.facts},
            },
            "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "firstTimestamp": timestamp(now),
            "lastTimestamp": timestamp(now),
            "count": 1,
            "reason": reason.value,
            "message": notice.message[:_NOTE_LIMIT],
            "type": "Warning" if notice.warning else "Normal",
            "action": reason.value,
            "reportingComponent": REPORTER,
            "source": {"component": REPORTER},
            "reportingInstance": self._instance[:128],
            "involvedObject": _involved(job, resource_version, represents),
        }
        try:
            await self._kube.create(f"/api/v1/namespaces/{job.namespace}/events", body)
        except KubeError as error:
            if not (error.already_exists or error.refusal or error.not_found):
                return
        self._remember(key)

    def _remember(self, key: str) -> None:
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]


def _involved(job: JobKey, resource_version: str, represents: Represented | None) -> dict[str, str]:
    """Return the reference to the object that an Event is on."""
    if not job.is_workload:
        named = {"apiVersion": words.API_VERSION, "kind": words.KIND, "name": job.name, "uid": job.uid}
    elif represents is None:
        named = {"apiVersion": _WORKLOADS, "kind": "Workload", "name": job.name, "uid": job.uid}
    else:
        named = {"apiVersion": represents.api_version, "kind": represents.kind}
        named |= {"name": represents.name, "uid": represents.uid}
    version = {"resourceVersion": resource_version} if resource_version else {}
    return {**named, "namespace": job.namespace, **version}
