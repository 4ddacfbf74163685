"""The client of Kueue's admission checks: the Workloads that have one of the operator's checks, and its states.

An entry of a check is applied on the server side, with force, because Kueue owns it, and with the `resourceVersion` of
the Workload that was judged: without it, a late Ready is accepted after an eviction.
"""

import logging
import time
from dataclasses import replace
from typing import Any

from gpu_relay.api import words
from gpu_relay.clients import clock
from gpu_relay.clients.kube import Kube, KubeError, Object
from gpu_relay.clients.resources import ADMISSION_CHECK_STATUS, ADMISSION_CHECKS, PODS, WORKLOAD_STATUS, WORKLOADS
from gpu_relay.clients.workloads import WorkloadStore
from gpu_relay.domain.decision import EvictWorkload, MarkReady, Pin, WithdrawReady
from gpu_relay.domain.objects.checked_workload import PENDING, READY, CheckedWorkload, checked_workload_of, with_pod
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.quantities import timestamp

logger = logging.getLogger(__name__)
_API_VERSION = "kueue.x-k8s.io/v1beta2"
_MANAGER = "gpu-relay-admission"
"""Another field manager than that of the other writes to Workloads: an apply removes what its manager leaves out."""
_POD_AGE = 60.0
_LONGEST_MESSAGE = 1024
_WITHDRAWN = "the GPU was given back; waits for a new one"


class AdmissionCheckStore:
    """The AdmissionChecks of the operator, and the Workloads that have one. Empty while the cluster has none."""

    def __init__(self, kube: Kube, namespace: str | None, workloads: WorkloadStore) -> None:
        self._kube = kube
        self._namespace = namespace
        self._workloads = workloads
        self._inactive: set[str] = set()
        """Names of the checks whose condition Active is not True."""
        self._pods: dict[str, tuple[float, Object]] = {}
        self._absence = ""
        """Why AdmissionChecks cannot be read; empty if they can."""
        self.names: set[str] = set()
        """Names of the operator's AdmissionChecks."""

    async def find(self) -> bool | None:
        """Read the AdmissionChecks; return whether one of them is the operator's. None without Kueue, or the rights.

        Raise KubeError if it is unknown.
        """
        if self._workloads.absence:
            return None
        before, self._absence = self._absence, ""
        try:
            found = await self._kube.list(ADMISSION_CHECKS.path(None))
        except KubeError as error:
            if not (error.not_found or error.refusal):
                raise
            self._absence = str(error)
            if self._absence != before:
                logger.warning("AdmissionChecks of Kueue cannot be read, and none is decided: %s", error)
            return None
        for raw in found:
            self.observe(raw)
        return bool(self.names)

    def observe(self, raw: Object, *, deleted: bool = False) -> bool:
        """Remember an AdmissionCheck; return whether it is the operator's."""
        name = str(raw["metadata"]["name"])
        if raw.get("spec", {}).get("controllerName") != words.ADMISSION_CONTROLLER:
            return False
        conditions = raw.get("status", {}).get("conditions", ())
        active = any(each["type"] == "Active" and each["status"] == "True" for each in conditions)
        (self.names.discard if deleted else self.names.add)(name)
        (self._inactive.discard if deleted or active else self._inactive.add)(name)
        return True

    async def activate(self) -> None:
        """Set the condition Active of the operator's checks: without it, their ClusterQueues reserve no quota."""
        for name in sorted(self._inactive):
            condition = {
                "type": "Active",
                "status": "True",
                "reason": "Active",
                "message": "the operator decides this check",
                "lastTransitionTime": timestamp(clock.now()),
            }
            body = {
                "apiVersion": _API_VERSION,
                "kind": "AdmissionCheck",
                "metadata": {"name": name},
                "status": {"conditions": [condition]},
            }
            await self._kube.apply(ADMISSION_CHECK_STATUS.path(None, name), body, manager=_MANAGER)
            self._inactive.discard(name)

    def read(self, raw: Object) -> CheckedWorkload:
        """Read a Workload, without what `completed` adds."""
        return checked_workload_of(raw, self.names)

    async def list(self) -> list[Object]:
        """List the Workloads of all kinds, live; none if the operator has no check."""
        return await self._kube.list(WORKLOADS.path(self._namespace)) if self.names else []

    async def get(self, key: JobKey) -> CheckedWorkload | None:
        """Read a Workload, live; None if it is gone, or replaced by another of the same name."""
        try:
            raw = await self._kube.get(WORKLOADS.path(key.namespace, key.name))
        except KubeError as error:
            if error.not_found:
                return None
            raise
        found = self.read(raw)
        return await self.completed(found) if found.key.uid == key.uid else None

    async def completed(self, workload: CheckedWorkload) -> CheckedWorkload:
        """Return a Workload with the nodes of its flavors, and with what the plain Pod that it represents asks."""
        grant = workload.grant
        for name in workload.flavors:
            grant = grant + await self._workloads.flavor(name)
        pod = await self._plain_pod(workload) if workload.plain_pod else None
        completed = replace(workload, grant=grant)
        return completed if pod is None else with_pod(completed, pod)

    async def _plain_pod(self, workload: CheckedWorkload) -> Object:
        known = self._pods.get(workload.key.uid)
        if known is not None and time.monotonic() - known[0] < _POD_AGE:
            return known[1]
        self._pods = {uid: each for uid, each in self._pods.items() if time.monotonic() - each[0] < _POD_AGE}
        try:
            pod = await self._kube.get(PODS.path(workload.key.namespace, workload.plain_pod))
        except KubeError as error:
            if not error.not_found:
                raise
            return {}
        self._pods[workload.key.uid] = time.monotonic(), pod
        return pod

    async def note(self, workload: CheckedWorkload, message: str) -> None:
        """Set the message of a Pending check. Raises KubeError: conflict if the Workload has changed."""
        await self._apply(workload, PENDING, message)

    async def admit(self, workload: CheckedWorkload, message: str) -> None:
        """Set a check to Ready without a pin, for a Workload whose pods the operator itself creates."""
        await self._apply(workload, READY, message)

    async def mark_ready(self, step: MarkReady) -> None:
        """Set a check to Ready, and pin the pods to their GPUs. Raises KubeError: conflict if it has changed."""
        pins = [_update(step.workload, pin) for pin in step.pins]
        await self._apply(step.workload, READY, step.message, podSetUpdates=pins)

    async def withdraw(self, step: WithdrawReady) -> None:
        """Set a check that is Ready back to Pending."""
        await self._apply(step.workload, PENDING, _WITHDRAWN)

    async def evict(self, step: EvictWorkload) -> None:
        """Set a check to Retry. Kueue keeps an older delay of the entry, so that is set to 0."""
        await self._apply(step.workload, "Retry", step.message, requeueAfterSeconds=0)

    async def _apply(self, workload: CheckedWorkload, state: str, message: str, **more: Any) -> None:
        assert workload.entry is not None
        entry = {
            "name": workload.entry.name,
            "state": state,
            "message": message[:_LONGEST_MESSAGE],
            "lastTransitionTime": timestamp(clock.now()),
            **more,
        }
        key = workload.key
        body = {
            "apiVersion": _API_VERSION,
            "kind": "Workload",
            "metadata": {"name": key.name, "namespace": key.namespace, "resourceVersion": workload.resource_version},
            "status": {"admissionChecks": [entry]},
        }
        await self._kube.apply(WORKLOAD_STATUS.path(key.namespace, key.name), body, manager=_MANAGER)


def _update(workload: CheckedWorkload, pin: Pin) -> Object:
    """Return what Kueue adds to the pods of a pod set. Their labels name the first GPU."""
    first = pin.gpus[0]
    selector = {words.LABEL_PIN: pin.node_label}
    if len(pin.nodes) == 1:
        selector[words.LABEL_HOSTNAME] = first.host
    annotations = {
        words.LABEL_GPU: ",".join(each.uuid for each in pin.gpus),
        words.ANNOTATION_PROVEN_MIB: str(min(each.free_mib for each in pin.gpus)),
    }
    if len(pin.gpus) > 1:
        annotations[words.ANNOTATION_TURNS] = pin.turns
    return {
        "name": pin.pod_set,
        "nodeSelector": selector,
        "labels": {
            words.LABEL_GPU: first.gpu,
            words.LABEL_FENCE: str(first.fence),
            words.LABEL_WORKLOAD_UID: workload.key.uid,
        },
        "annotations": annotations,
    }
