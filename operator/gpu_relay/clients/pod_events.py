"""Events of a pod that waits, and of its claims: mount errors, for example, stand in no pod's status."""

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import quote

from gpu_relay.clients.kube import Kube, KubeError, Object
from gpu_relay.domain.job.pod_failures import POD_WORDS, VOLUME_WORDS
from gpu_relay.domain.objects.pod import QUIET_WAITING, TrainingPod
from gpu_relay.domain.quantities import parse_time
from gpu_relay.domain.untrusted import mapping, text

logger = logging.getLogger(__name__)
_FORBIDDEN = 403
_ASK_AGAIN = 600.0
"""Seconds for which Events are left alone after a refusal: an API server that restarts refuses, too."""
_MOST = 20
"""Events of one object that are read; repeated ones are one, with a count."""
_REMEMBERED = 256
"""Pods whose last answer is kept."""
_UNBOUND = "unbound immediate PersistentVolumeClaims"
"""What the scheduler says of a pod whose claim has no volume; why it has none, the claim's Events say."""


@dataclass(frozen=True)
class _Answer:
    """What the Events of a pod said, and when they were read (monotonic, seconds)."""

    at: float
    reason: str = ""
    message: str = ""


class StartEvents:
    """Reads why a pod does not start from its Events. One answer at a time is in memory: people write Events, too."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._answers: dict[str, _Answer] = {}
        self._refused_at: float | None = None
        self._turnstile = asyncio.Lock()

    async def explain(self, pod: TrainingPod, now: datetime, apart: float) -> TrainingPod:
        """Return a pod with what its Events say of why it waits, where its status does not say it.

        Events are read at most once in `apart` seconds for each pod, and not of a pod younger than twice as long. An
        operator that may not read them, or gets no answer, goes by the pod's status alone.
        """
        if pod.waiting is None or pod.deleting or (now - parse_time(pod.created)).total_seconds() < 2 * apart:
            return pod
        unbound = _UNBOUND in pod.waiting
        if pod.waiting_on or not (unbound or pod.waiting_reason in QUIET_WAITING):
            return pod
        async with self._turnstile:
            answer = await self._answer(pod, apart)
        if not answer.reason:
            return pod
        if unbound:
            return replace(pod, waiting=f"{pod.waiting.rstrip('.')}. {answer.message}")
        return replace(pod, waiting=f"{answer.reason}: {answer.message}", waiting_reason=answer.reason)

    async def _answer(self, pod: TrainingPod, apart: float) -> _Answer:
        known, now = self._answers.get(pod.uid), time.monotonic()
        if known is not None and now - known.at < apart:
            return known
        if self._refused_at is not None and now - self._refused_at < _ASK_AGAIN:
            return _Answer(now)
        self._answers.pop(pod.uid, None)
        self._answers[pod.uid] = answer = await self._read(pod, now, known or _Answer(now))
        if len(self._answers) > _REMEMBERED:
            del self._answers[next(iter(self._answers))]
        return answer

    async def _read(self, pod: TrainingPod, now: float, known: _Answer) -> _Answer:
        """Read what a pod's Events say; where nobody answers, what was `known` still counts."""
        try:
            return await self._of_pod(pod, now) if pod.node else await self._of_claims(pod, now)
        except KubeError as error:
            if error.status == _FORBIDDEN:
                self._refused_at = now
                logger.warning("mount errors are found by GPU_RELAY_POD_START_TIMEOUT alone: %s", error)
            else:
                logger.debug("the Events of pod %s/%s could not be read: %s", pod.namespace, pod.name, error)
            return replace(known, at=now)

    async def _of_pod(self, pod: TrainingPod, now: float) -> _Answer:
        """Return what the newest Event says: once a volume is mounted, its failures are out of date."""
        newest = await self._newest(pod.namespace, f"involvedObject.uid={pod.uid}")
        reason = text(newest.get("reason"))
        if newest.get("type") != "Warning" or reason not in VOLUME_WORDS | POD_WORDS:
            return _Answer(now)
        return _Answer(now, reason, text(newest.get("message")))

    async def _of_claims(self, pod: TrainingPod, now: float) -> _Answer:
        """Return why a claim has no volume: until it has one, a scheduler that waits for it says nothing of the pod."""
        for claim in pod.claims:
            selector = f"involvedObject.kind=PersistentVolumeClaim,involvedObject.name={claim}"
            newest = await self._newest(pod.namespace, selector)
            reason = text(newest.get("reason"))
            if reason in VOLUME_WORDS:
                return _Answer(now, reason, f"PersistentVolumeClaim {claim}: {text(newest.get('message'))}")
        return _Answer(now)

    async def _newest(self, namespace: str, fields: str) -> Object:
        """Return the newest Event that a field selector finds; of one second, what is no Warning counts as newer."""
        path = f"/api/v1/namespaces/{namespace}/events?limit={_MOST}&fieldSelector={quote(fields)}"
        found = (await self._kube.get(path)).get("items") or []
        return max(found, key=lambda event: (_seen(event), event.get("type") != "Warning"), default={})


def _seen(event: Object) -> str:
    """Return when an Event was last seen: RFC 3339 with whole seconds in UTC, which sorts as text; empty if unknown."""
    series = text(mapping(event.get("series")).get("lastObservedTime"))
    return max(series, text(event.get("lastTimestamp")), text(event.get("eventTime")))[:19]
