"""Events on jobs, written once each: their names say job, turn and reason, so a restarted operator repeats nothing.

They go through core/v1: only there may `lastTimestamp` be set beside `eventTime`, and `kubectl describe` sorts by it.
"""

import os
import socket

from gpu_relay.api import words
from gpu_relay.domain.model import JobKey
from gpu_relay.domain.quantities import timestamp
from gpu_relay.domain.steps import Notice
from gpu_relay.effects import clock
from gpu_relay.effects.kube import Kube, KubeError

_COMPONENT = "gpu-relay"
_ORDER = {reason: number for number, reason in enumerate(words.Reason)}
"""Reasons stand in the order of a turn; names keep Events of the same second in that order."""
_NOTE_LIMIT = 1024
_REMEMBERED = 10_000


class EventRecorder:
    """Emits Events; an Event that cannot be written is no reason to stop."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._instance = os.environ.get("POD_NAME") or socket.gethostname()
        self._seen: dict[str, None] = {}

    async def emit(self, job: JobKey, resource_version: str, turn: int, notice: Notice) -> None:
        """Write an Event once for each job, turn and reason."""
        reason = notice.reason
        name = f"{job.name}.{job.uid[:8]}.{turn}.{_ORDER[reason]:02}.{reason.value.lower()}"
        key = f"{job.namespace}/{name}"
        if key in self._seen:
            return
        now = clock.now()
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": job.namespace},
            "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "firstTimestamp": timestamp(now),
            "lastTimestamp": timestamp(now),
            "count": 1,
            "reason": reason.value,
            "message": notice.message[:_NOTE_LIMIT],
            "type": "Warning" if notice.warning else "Normal",
            "action": reason.value,
            "reportingComponent": _COMPONENT,
            "source": {"component": _COMPONENT},
            "reportingInstance": self._instance[:128],
            "involvedObject": {
                "apiVersion": words.API_VERSION,
                "kind": words.KIND,
                "namespace": job.namespace,
                "name": job.name,
                "uid": job.uid,
                "resourceVersion": resource_version,
            },
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
