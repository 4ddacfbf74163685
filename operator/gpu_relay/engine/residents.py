"""Which resident sits on which GPU: found by asking the residents themselves."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gpu_relay.api import words
from gpu_relay.domain.fairness import objections
from gpu_relay.domain.model import GpuLease, Resident
from gpu_relay.effects.http import UnavailableError
from gpu_relay.effects.residents import ResidentClient
from gpu_relay.engine.cache import Cache, ResidentPod

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownGpu:
    """A GPU that a resident has reported: its key in Leases and labels, and the resident's last report."""

    gpu: str
    resident: Resident


class ResidentDirectory:
    """Probes resident pods and remembers which GPU each pod reported; a pod keeps its GPU as long as it lives."""

    def __init__(self, cache: Cache, client: ResidentClient, port: int, external: Sequence[ResidentPod] = ()) -> None:
        """`external` are residents that are no pods; they are always there."""
        self._cache = cache
        self._external = tuple(external)
        self._client = client
        self._port = port
        self._known: dict[str, KnownGpu] = {}

    def any_pods(self) -> bool:
        """True when there is any resident at all, reachable or not."""
        return bool(self._pods())

    def _pods(self) -> list[ResidentPod]:
        return [*self._cache.residents.values(), *self._external]

    async def known_gpus(self, outdated: Callable[[KnownGpu], bool]) -> list[KnownGpu]:
        """Return one GPU for each resident that ever answered; asks those that never did, and the outdated ones."""
        pods = self._pods()
        known = ((pod, self._known.get(pod.uid)) for pod in pods if pod.ip or pod.url)
        await asyncio.gather(*(self.probe(pod) for pod, told in known if told is None or outdated(told)))
        self._known = {pod.uid: _as_labelled(self._known[pod.uid], pod) for pod in pods if pod.uid in self._known}
        return list({known.gpu: known for known in self._known.values()}.values())

    def unknown_pods(self) -> int:
        """Count the resident pods that have not yet said which GPU they sit on."""
        return sum(pod.uid not in self._known for pod in self._pods())

    async def on_gpu(self, lease: GpuLease) -> Resident | None:
        """Ask the resident of a GPU for a fresh report; None when no resident pod is on the GPU's node.

        A pod that does not answer counts as this GPU's resident: unknown is not free.
        """
        pods = [pod for pod in self._pods() if pod.node == lease.node and self._may_sit_on(pod, lease)]
        pods.sort(key=lambda pod: (pod.deleting, pod.created))
        mute = None
        for pod in pods:
            resident = await self.probe(pod)
            if resident.report is not None and gpu_key(resident.report.uuid) == lease.gpu:
                return resident
            if resident.report is None:
                mute = mute or resident
        return mute

    def _may_sit_on(self, pod: ResidentPod, lease: GpuLease) -> bool:
        known = self._known.get(pod.uid)
        return known is None or known.gpu == lease.gpu

    async def probe(self, pod: ResidentPod) -> Resident:
        """Ask one resident for its report, now."""
        host = f"[{pod.ip}]" if pod.ip and ":" in pod.ip else pod.ip
        url = pod.url or f"http://{host}:{self._port}"
        report, error = None, ""
        if pod.ip is None and not pod.url:
            error = f"its pod is {pod.phase} and has no address yet"
        else:
            try:
                report = await self._client.report(url)
            except UnavailableError as failure:
                error = str(failure)
        resident = Resident(
            pod.namespace, pod.name, pod.uid, pod.node, url, pod.labels, report, error, pod.annotations,
            deleting=pod.deleting, external=bool(pod.url),
        )  # fmt: skip
        if report is not None:
            if pod.uid not in self._known:
                _tell_objections(resident)
            self._known[pod.uid] = KnownGpu(gpu_key(report.uuid), resident)
        return resident


def external_resident(name: str, url: str, node: str, labels: dict[str, str], allowed_namespaces: str) -> ResidentPod:
    """Describe a resident that is no pod as the directory sees one."""
    return ResidentPod(
        namespace="external", name=name, uid=url, node=node, ip=None, phase="Running", deleting=False,
        created="", labels=labels, annotations={words.ANNOTATION_ALLOWED_NAMESPACES: allowed_namespaces}, url=url,
    )  # fmt: skip


def _as_labelled(known: KnownGpu, pod: ResidentPod) -> KnownGpu:
    """Bring labels and annotations, which may be changed at any time, to what the watch has shown."""
    return replace(known, resident=replace(known.resident, labels=pod.labels, annotations=pod.annotations))


def _tell_objections(resident: Resident) -> None:
    for objection in objections(resident.annotations):
        logger.warning("resident %s: the operator's own setting is used, because of %s", resident, objection)


def gpu_key(uuid: str) -> str:
    """Return the name of a GPU in Leases and labels: its UUID in lower case."""
    return uuid.lower()
