"""Which resident uses which GPU, as the residents report it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gpu_relay.api import words
from gpu_relay.clients.http import UnavailableError
from gpu_relay.clients.residents import ResidentClient
from gpu_relay.controllers.runtime.store import Cache
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.resident import Resident, ResidentPod, resident_of
from gpu_relay.domain.outage import objections

logger = logging.getLogger(__name__)
_ANSWER_TIMEOUT = 1.0
"""Seconds to wait for answers before the GPUs are listed without them."""


@dataclass(frozen=True)
class KnownGpu:
    """A GPU that a resident has reported: its key in Leases and labels, and the resident's last report."""

    gpu: str
    resident: Resident


class ResidentRegistry:
    """Probes resident pods and remembers which GPU each pod reported; a pod keeps its GPU as long as it lives."""

    def __init__(self, cache: Cache, client: ResidentClient, external: Sequence[ResidentPod] = ()) -> None:
        """`external` are residents outside the cluster; they always exist."""
        self._cache = cache
        self._external = tuple(external)
        self._client = client
        self._known: dict[str, KnownGpu] = {}
        self._probes: dict[str, asyncio.Task[Resident]] = {}
        """Running probes, by the UID of the pod."""

    def any_pods(self) -> bool:
        """True if there is any resident, reachable or not."""
        return bool(self._pods())

    def absent_for(self) -> float:
        """Return for how many seconds no resident has been known; 0 while there is one."""
        return 0.0 if self._external else self._cache.residents.empty_for()

    def _pods(self) -> list[ResidentPod]:
        return [*self._cache.residents.values(), *self._external]

    async def known_gpus(self, outdated: Callable[[KnownGpu], bool]) -> list[KnownGpu]:
        """Return one GPU for each resident that ever answered; ask those that have not, and the outdated ones.

        A resident that hangs does not delay the others (law 8): its answer is used when it comes.
        """
        pods = [pod for pod in self._pods() if pod.ip or pod.url]
        for pod in pods:
            known = self._known.get(pod.uid)
            if known is None or known.resident.report is None or outdated(known):
                self._start_probe(pod)
        if self._probes:
            await asyncio.wait(self._probes.values(), timeout=_ANSWER_TIMEOUT)
        return self.reported()

    def reported(self) -> list[KnownGpu]:
        """Return one GPU for each resident that ever answered, as it was last reported, without asking."""
        pods = sorted(self._pods(), key=_precedence, reverse=True)
        self._known = {pod.uid: _as_labelled(self._known[pod.uid], pod) for pod in pods if pod.uid in self._known}
        return list({known.gpu: known for known in self._known.values()}.values())

    def _start_probe(self, pod: ResidentPod) -> None:
        if pod.uid not in self._probes:
            task = self._probes[pod.uid] = asyncio.create_task(self.probe(pod))
            task.add_done_callback(lambda done: self._end_probe(pod, done))

    def _end_probe(self, pod: ResidentPod, task: "asyncio.Task[Resident]") -> None:
        del self._probes[pod.uid]
        if not task.cancelled() and task.exception() is not None:
            logger.error("the probe of resident %s/%s failed", pod.namespace, pod.name, exc_info=task.exception())

    async def report(self, resident: Resident) -> Resident:
        """Ask a resident for a fresh report; one whose pod is gone has none."""
        pod = next((each for each in self._pods() if each.uid == resident.uid), None)
        return replace(resident, report=None, error="its pod is gone") if pod is None else await self.probe(pod)

    def trusts(self, namespace: str) -> bool:
        """True if pods of a namespace may be residents."""
        return self._cache.trusts(namespace)

    def unknown_pods(self) -> int:
        """Count the resident pods that have not reported their GPU, or do not answer."""
        known = (self._known.get(pod.uid) for pod in self._pods())
        return sum(each is None or each.resident.report is None for each in known)

    async def on_gpu(self, lease: GpuLease) -> tuple[Resident, ...]:
        """Ask the residents of a GPU for new reports; empty if no resident pod is on the GPU's node.

        The first is the one that the GPU returns to. A pod that does not answer counts as this GPU's resident if no
        other does, or if it was on this GPU: unknown is not free.
        """
        pods = [pod for pod in self._pods() if pod.node == lease.node and self._may_use(pod, lease)]
        pods.sort(key=_precedence)
        asked = await asyncio.gather(*map(self.probe, pods))
        answered = [each for each in asked if each.report is not None and gpu_key(each.report.uuid) == lease.gpu]
        silent = [each for each in asked if each.report is None]
        if not answered:
            return tuple(silent[:1])
        return *answered, *(each for each in silent if each.uid in self._known and not each.deleting)

    def _may_use(self, pod: ResidentPod, lease: GpuLease) -> bool:
        known = self._known.get(pod.uid)
        return known is None or known.gpu == lease.gpu

    async def probe(self, pod: ResidentPod) -> Resident:
        """Ask one resident for its report, now."""
        url = pod.base_url
        report, error = None, ""
        if pod.ip is None and not pod.url:
            error = f"its pod is {pod.phase} and has no address yet"
        else:
            try:
                report = await self._client.report(url)
            except UnavailableError as failure:
                error = str(failure)
        resident = resident_of(pod, report, error, url)
        known = self._known.get(pod.uid)
        if report is not None:
            if known is None:
                _log_objections(resident)
            self._known[pod.uid] = KnownGpu(gpu_key(report.uuid), resident)
        elif known is not None:
            self._known[pod.uid] = replace(known, resident=resident)
        return resident


def external_resident(name: str, url: str, node: str, labels: dict[str, str], allowed_namespaces: str) -> ResidentPod:
    """Return the entry of a resident outside the cluster."""
    return ResidentPod(
        namespace="external", name=name, uid=url, node=node, ip=None, phase="Running", deleting=False,
        created="", labels=labels, annotations={words.ANNOTATION_ALLOWED_NAMESPACES: allowed_namespaces}, url=url,
    )  # fmt: skip


def _precedence(pod: ResidentPod) -> tuple[bool, str]:
    """Order residents of one GPU: those that stay before those that end, older ones first."""
    return pod.deleting, pod.created


def _as_labelled(known: KnownGpu, pod: ResidentPod) -> KnownGpu:
    """Bring labels and annotations, which may be changed at any time, to what the watch has shown."""
    return replace(known, resident=replace(known.resident, labels=pod.labels, annotations=pod.annotations))


def _log_objections(resident: Resident) -> None:
    for objection in objections(resident.annotations):
        logger.warning("resident %s: the operator's own setting is used, because of %s", resident, objection)


def gpu_key(uuid: str) -> str:
    """Return the name of a GPU in Leases and labels: its UUID in lower case."""
    return uuid.lower()
