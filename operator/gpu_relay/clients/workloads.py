"""The client of Kueue: the Workloads of our jobs, and ResourceFlavors."""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from gpu_relay.api import words
from gpu_relay.clients.kube import Kube, KubeError, Object
from gpu_relay.domain.kueue.workload import Workload
from gpu_relay.domain.objects.demand import Grant
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.quantities import timestamp

logger = logging.getLogger(__name__)
GROUP = "kueue.x-k8s.io"
VERSION = "v1beta2"
PLURAL = "workloads"
_API = f"/apis/{GROUP}/{VERSION}"
_REQUEST = f"{words.GROUP}/request"
_POD_SET = "main"
#: Fields of a pod that Kueue reads; others have no use in a Workload.
_POD_FIELDS = (
    "affinity", "nodeSelector", "overhead", "priorityClassName", "resourceClaims", "restartPolicy", "runtimeClassName",
    "schedulerName", "tolerations",
)  # fmt: skip
_CONTAINER_FIELDS = ("name", "image", "resources")
_FLAVOR_AGE = 60.0
_PROBE_AGE = 15.0
_NO_KUEUE = f"this cluster has no Kueue of version 0.15 or later ({GROUP}/{VERSION}): install it, or remove the label"
_NO_RIGHTS = "the operator may not read Kueue's Workloads: add manifests/components/kueue to its kustomization"


class WorkloadStore:
    """The Workloads of our jobs in the cluster, or in one namespace."""

    def __init__(self, kube: Kube, namespace: str | None) -> None:
        self._kube = kube
        self.list_path = f"{_API}/namespaces/{namespace}/{PLURAL}" if namespace else f"{_API}/{PLURAL}"
        self.absence = _NO_KUEUE
        """Why Kueue's API cannot be read; empty if it can."""
        self._probed_at = -_PROBE_AGE
        self._flavors: dict[str, tuple[float, Grant]] = {}

    async def probe(self) -> None:
        """Check whether Kueue's API can be read, at most once in 15 s; without an answer, the next call asks again.

        Raise KubeError if it is unknown.
        """
        before, now = self._probed_at, time.monotonic()
        if now - before < _PROBE_AGE:
            return
        self._probed_at = now
        try:
            self.absence = await self._unavailable_reason()
        except KubeError:
            self._probed_at = before
            raise

    async def _unavailable_reason(self) -> str:
        """Return why Kueue's API cannot be read. Its group is read first: that needs no rights."""
        for path, reason in ((_API, _NO_KUEUE), (f"{self.list_path}?limit=1", _NO_RIGHTS)):
            try:
                await self._kube.get(path)
            except KubeError as error:
                if not (error.not_found or error.refusal):
                    raise
                return reason
        return ""

    async def list(self) -> list[Object]:
        """List the Workloads of our jobs, live; none if Kueue's API cannot be read."""
        if self.absence:
            return []
        return await self._kube.list(self.list_path, labels=words.LABEL_JOB_UID)

    async def create(self, job: Job, template: Object) -> None:
        """Create the Workload of a job, to request its quota. Success if it exists already."""
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "Workload",
            "metadata": {
                "name": f"{words.KIND.lower()}-{job.key.name[:30]}-{job.key.uid[:8]}",
                "namespace": job.key.namespace,
                **_ownership(job),
                "annotations": {_REQUEST: request_hash(template)},
            },
            "spec": {
                "queueName": job.local_queue,
                "priority": job.spec.priority,
                "podSets": [{"name": _POD_SET, "count": 1, "template": template}],
            },
        }
        try:
            await self._kube.create(f"{_API}/namespaces/{job.key.namespace}/{PLURAL}", body)
        except KubeError as error:
            if not error.already_exists:
                raise

    async def adopt(self, job: Job) -> None:
        """Make a job the owner of the Workload that its label names, if that exists and has no owner.

        Raises KubeError: conflict if the Workload has changed.
        """
        path = f"{_API}/namespaces/{job.key.namespace}/{PLURAL}/{job.prebuilt_workload}"
        try:
            meta = (await self._kube.get(path))["metadata"]
        except KubeError as error:
            if not error.not_found:
                raise
            return
        if not any(each.get("controller") for each in meta.get("ownerReferences", ())):
            version = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
            await self._kube.merge(path, {"metadata": version | _ownership(job)})

    async def delete(self, workload: Workload) -> None:
        """Delete a Workload."""
        await self._kube.delete(_path(workload), uid=workload.uid)

    async def change(self, workload: Workload, queue: str, priority: int) -> None:
        """Move a Workload to another LocalQueue, and change its priority. Raises KubeError: conflict."""
        spec = {"queueName": queue, "priority": priority}
        await self._kube.merge(_path(workload), {"metadata": _version(workload), "spec": spec})

    async def return_quota(self, workload: Workload, now: datetime) -> None:
        """Give back the quota of an evicted Workload, and requeue it, as Kueue's own integrations do."""
        evicted = workload.condition("Evicted")
        reason, message = evicted.get("reason", "Pending"), evicted.get("message", "")
        # Otherwise, Kueue sets it True: after a backoff, or when the queue or the Workload is active again.
        again = "True" if reason in {"Preempted", "NodeFailures"} else "False"
        changed = [
            _condition(workload, now, "QuotaReserved", "False", "Pending", message),
            _condition(workload, now, "Admitted", "False", "NoReservation", "The workload has no reservation"),
            _condition(workload, now, "Requeued", again, reason, message),
        ]
        if workload.holds("PodsReady"):
            changed.append(_condition(workload, now, "PodsReady", "False", "WaitForStart", "Not all pods are ready"))
        kinds = {each["type"] for each in changed}
        kept = [dict(each) for each in workload.conditions if each["type"] not in kinds]
        status = {"admission": None, "conditions": kept + changed}
        await self._kube.merge(f"{_path(workload)}/status", {"metadata": _version(workload), "status": status})

    async def report_pods_ready(self, workload: Workload, now: datetime) -> None:
        """Report to Kueue that the job's pod runs."""
        condition = _condition(workload, now, "PodsReady", "True", "Started", "The training pod runs")
        await self._apply_condition(workload, condition)

    async def finish(self, workload: Workload, now: datetime, reason: str, message: str) -> None:
        """Report to Kueue that a job has finished, which frees its quota."""
        await self._apply_condition(workload, _condition(workload, now, "Finished", "True", reason, message))

    async def grant_of(self, workload: Workload) -> Grant:
        """Return where a Workload's quota is to be used, according to its flavors and admission checks."""
        grant = workload.checks
        for name in workload.flavors:
            grant = grant + await self.flavor(name)
        return grant

    async def flavor(self, name: str) -> Grant:
        """Return the node labels and tolerations of a ResourceFlavor, as they were read in the last minute."""
        known = self._flavors.get(name)
        if known is not None and time.monotonic() - known[0] < _FLAVOR_AGE:
            return known[1]
        try:
            spec = (await self._kube.get(f"{_API}/resourceflavors/{name}")).get("spec", {})
        except KubeError as error:
            if not error.refusal and not error.not_found:
                raise
            logger.warning(
                "ResourceFlavor %s cannot be read; its node labels and tolerations are ignored: %s", name, error
            )
            spec = {}
        grant = Grant(spec.get("nodeLabels", {}), tuple(spec.get("tolerations", ())))
        self._flavors[name] = (time.monotonic(), grant)
        return grant

    async def _apply_condition(self, workload: Workload, condition: Object) -> None:
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "Workload",
            "metadata": {"name": workload.name, "namespace": workload.namespace, "uid": workload.uid},
            "status": {"conditions": [condition]},
        }
        await self._kube.apply(f"{_path(workload)}/status", body)


def _ownership(job: Job) -> Object:
    """Return the metadata that makes a Workload a job's."""
    owner = {
        "apiVersion": words.API_VERSION,
        "kind": words.KIND,
        "name": job.key.name,
        "uid": job.key.uid,
        "controller": True,
    }
    return {
        "labels": {words.LABEL_JOB: job.key.name, words.LABEL_JOB_UID: job.key.uid},
        "ownerReferences": [owner],
    }


def pod_set_template(pod: Object) -> Object:
    """Return the part of a training pod that Kueue needs: its requests, and the nodes on which it may run."""
    spec = pod["spec"]
    containers = {
        kind: [{key: each[key] for key in _CONTAINER_FIELDS if key in each} for each in spec[kind]]
        for kind in ("initContainers", "containers")
        if kind in spec
    }
    return {"spec": {**{key: spec[key] for key in _POD_FIELDS if key in spec}, **containers}}


def request_hash(template: Object) -> str:
    """Return a hash of what a pod requests. Images are not part of it, so they may change."""
    spec = {**template["spec"]}
    for kind in ("initContainers", "containers"):
        spec[kind] = [each.get("resources", {}) for each in spec.get(kind, ())]
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]


def workload_of(raw: Object) -> Workload:
    """Read a Workload."""
    meta, spec, status = raw["metadata"], raw.get("spec", {}), raw.get("status", {})
    admission = status.get("admission") or {}
    assignments = admission.get("podSetAssignments", ())
    flavors = {flavor for each in assignments for flavor in each.get("flavors", {}).values()}
    return Workload(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        generation=meta.get("generation", 0),
        created=meta["creationTimestamp"],
        job_uid=meta.get("labels", {}).get(words.LABEL_JOB_UID, ""),
        queue=spec.get("queueName", ""),
        priority=spec.get("priority", 0),
        request=meta.get("annotations", {}).get(_REQUEST, ""),
        active=spec.get("active", True),
        deleting="deletionTimestamp" in meta,
        conditions=tuple(status.get("conditions", ())),
        flavors=tuple(sorted(flavors)),
        reserved=bool(admission),
        checks=_checks(status.get("admissionChecks", ())),
    )


def _checks(checks: Sequence[Object]) -> Grant:
    grant = Grant()
    for check in checks:
        for update in check.get("podSetUpdates", ()):
            grant = grant + Grant(update.get("nodeSelector", {}), tuple(update.get("tolerations", ())))
    return grant


def _condition(workload: Workload, now: datetime, kind: str, status: str, reason: str, message: str) -> dict[str, Any]:
    old = workload.condition(kind)
    since = old["lastTransitionTime"] if old.get("status") == status else timestamp(now)
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since,
        "observedGeneration": workload.generation,
    }


def _path(workload: Workload) -> str:
    return f"{_API}/namespaces/{workload.namespace}/{PLURAL}/{workload.name}"


def _version(workload: Workload) -> Object:
    return {"uid": workload.uid, "resourceVersion": workload.resource_version}
