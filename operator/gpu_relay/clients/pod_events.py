"""The Events of a pod that waits, and of its PVCs: mount errors, for example, are not in the pod's status."""

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import quote

from gpu_relay.clients.kube import Kube, KubeError, Object
from gpu_relay.domain.job.pod_failures import POD_FAILURE_REASONS, VOLUME_FAILURE_REASONS
from gpu_relay.domain.objects.pod import QUIET_WAITING, TrainingPod
from gpu_relay.domain.quantities import parse_time
from gpu_relay.domain.untrusted import mapping, text

logger = logging.getLogger(__name__)
_FORBIDDEN = 403
_ASK_AGAIN = 600.0
"""Seconds for which Events are not read after a refusal. An API server that restarts may refuse, too."""
_MOST = 20
"""Limit of Events of one object that are read; repeated Events are one, with a count."""
_REMEMBERED = 256
"""Limit of pods whose last result is kept."""
_UNBOUND = "unbound immediate PersistentVolumeClaims"
"""The scheduler's message for a pod whose PVC has no volume; the cause is in the Events of the PVC."""


@dataclass(frozen=True)
class _Answer:
    """The cause in the Events of a pod, and when they were read (monotonic, seconds)."""

    at: float
    reason: str = ""
    message: str = ""


class StartEvents:
    """A reader of the Events that explain why a pod does not start. It reads one list at a time: lists may be large."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._answers: dict[str, _Answer] = {}
        self._refused_at: float | None = None
        self._lock = asyncio.Lock()

    async def explain(self, pod: TrainingPod, now: datetime, interval: float) -> TrainingPod:
        """Return a waiting pod with the cause from its Events, if its status does not have the cause.

        The Events of a pod are read at most once in `interval` seconds, and not of a pod younger than two intervals. If
        they cannot be read, the pod is returned unchanged.
        """
        if pod.waiting is None or pod.deleting or (now - parse_time(pod.created)).total_seconds() < 2 * interval:
            return pod
        unbound = _UNBOUND in pod.waiting
        if pod.waiting_on or not (unbound or pod.waiting_reason in QUIET_WAITING):
            return pod
        async with self._lock:
            answer = await self._answer(pod, interval)
        if not answer.reason:
            return pod
        if unbound:
            return replace(pod, waiting=f"{pod.waiting.rstrip('.')}. {answer.message}")
        return replace(pod, waiting=f"{answer.reason}: {answer.message}", waiting_reason=answer.reason)

    async def _answer(self, pod: TrainingPod, interval: float) -> _Answer:
        known, now = self._answers.get(pod.uid), time.monotonic()
        if known is not None and now - known.at < interval:
            return known
        if self._refused_at is not None and now - self._refused_at < _ASK_AGAIN:
            return _Answer(now)
        self._answers.pop(pod.uid, None)
        self._answers[pod.uid] = answer = await self._read(pod, now, known or _Answer(now))
        if len(self._answers) > _REMEMBERED:
            del self._answers[next(iter(self._answers))]
        return answer

    async def _read(self, pod: TrainingPod, now: float, known: _Answer) -> _Answer:
        """Read the cause from a pod's Events; if they cannot be read, `known` is still valid."""
        try:
            return await self._of_pod(pod, now) if pod.node else await self._of_claims(pod, now)
        except KubeError as error:
            if error.status == _FORBIDDEN:
                self._refused_at = now
                logger.warning(
                    "Events cannot be read, so mount errors are only detected by GPU_RELAY_POD_START_TIMEOUT: %s",
                    error,
                )
            else:
                logger.debug("the Events of pod %s/%s could not be read: %s", pod.namespace, pod.name, error)
            return replace(known, at=now)

    async def _of_pod(self, pod: TrainingPod, now: float) -> _Answer:
        """Return the cause in the newest Event: once a volume is mounted, earlier failures are out of date."""
        newest = await self._newest(pod.namespace, f"involvedObject.uid={pod.uid}")
        reason = text(newest.get("reason"))
        if newest.get("type") != "Warning" or reason not in VOLUME_FAILURE_REASONS | POD_FAILURE_REASONS:
            return _Answer(now)
        return _Answer(now, reason, text(newest.get("message")))

    async def _of_claims(self, pod: TrainingPod, now: float) -> _Answer:
        """Return why a PVC of the pod has no volume: the scheduler reports nothing more of the pod until it has one."""
        for name in pod.claims:
            selector = f"involvedObject.kind=PersistentVolumeClaim,involvedObject.name={name}"
            newest = await self._newest(pod.namespace, selector)
            reason = text(newest.get("reason"))
            if reason in VOLUME_FAILURE_REASONS:
                return _Answer(now, reason, f"PersistentVolumeClaim {name}: {text(newest.get('message'))}")
        return _Answer(now)

    async def _newest(self, namespace: str, fields: str) -> Object:
        """Return the newest Event of a field selector; in the same second, a Warning counts as older."""
        path = f"/api/v1/namespaces/{namespace}/events?limit={_MOST}&fieldSelector={quote(fields)}"
        found = (await self._kube.get(path)).get("items") or []
        return max(found, key=lambda event: (_seen(event), event.get("type") != "Warning"), default={})


def _seen(event: Object) -> str:
    """Return when an Event last occurred: RFC 3339 with whole seconds in UTC, which sorts as text; empty if unknown."""
    series = text(mapping(event.get("series")).get("lastObservedTime"))
    return max(series, text(event.get("lastTimestamp")), text(event.get("eventTime")))[:19]
