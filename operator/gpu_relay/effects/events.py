"""Events on jobs, written once each: their names are made of what they say, so a restarted operator repeats nothing."""

import hashlib
import os
import socket
from datetime import UTC, datetime

from gpu_relay.api import words
from gpu_relay.domain.model import JobKey
from gpu_relay.domain.steps import Notice
from gpu_relay.effects.kube import Kube, KubeError

_COMPONENT = "gpu-relay"
_NOTE_LIMIT = 1024
_REMEMBERED = 10_000


class EventRecorder:
    """Emits events.k8s.io/v1 Events; an Event that cannot be written is no reason to stop."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._instance = os.environ.get("POD_NAME") or socket.gethostname()
        self._seen: dict[str, None] = {}

    async def emit(self, job: JobKey, resource_version: str, turn: int, notice: Notice) -> None:
        """Write an Event once for each job, turn and reason."""
        key = hashlib.sha256(f"{job.uid}/{turn}/{notice.reason}".encode()).hexdigest()[:16]
        if key in self._seen:
            return
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{job.name}.{key}", "namespace": job.namespace},
            "eventTime": now,
            "reason": notice.reason.value,
            "note": notice.message[:_NOTE_LIMIT],
            "type": "Warning" if notice.warning else "Normal",
            "action": notice.reason.value,
            "reportingController": f"{words.GROUP}/{_COMPONENT}",
            "reportingInstance": self._instance[:128],
            "regarding": {
                "apiVersion": words.API_VERSION,
                "kind": words.KIND,
                "namespace": job.namespace,
                "name": job.name,
                "uid": job.uid,
                "resourceVersion": resource_version,
            },
        }
        try:
            await self._kube.create(f"/apis/events.k8s.io/v1/namespaces/{job.namespace}/events", body)
        except KubeError as error:
            if not (error.already_exists or error.refusal or error.not_found):
                return
        self._remember(key)

    def _remember(self, key: str) -> None:
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
