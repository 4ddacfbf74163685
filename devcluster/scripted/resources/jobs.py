"""YoloTrainingJobs: their spec, status and conditions."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from devcluster.scripted.manifests import Object, job_manifest
from devcluster.scripted.resources.namespace import Namespace
from devcluster.waiting import eventually


class Jobs(Namespace):
    """Jobs of one namespace."""

    def __init__(self, api: httpx.Client, namespace: str) -> None:
        super().__init__(api, namespace)
        self._jobs = f"/apis/gpurelay.dev/v1alpha1/namespaces/{namespace}/yolotrainingjobs"

    def empty_jobs(self) -> None:
        """Delete the jobs."""
        self.api.delete(self._jobs)

    def apply_job(self, name: str, *, memory: str = "10Gi", queue: str = "", **spec: Any) -> Object:
        """Create a job, for a LocalQueue of Kueue if one is named; `spec` adds to a minimal one."""
        body = job_manifest(name, memory=memory, **spec)
        if queue:
            body["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": queue}
        return self._expect(self.api.post(self._jobs, json=body))

    def patch_job(self, name: str, **spec: Any) -> Object:
        """Change fields of a job's spec."""
        return self._patch(f"{self._jobs}/{name}", {"spec": spec})

    def touch_job(self, name: str) -> None:
        """Change a job's labels, so that the operator reconciles it again."""
        self.label_job(name, "touched", str(time.monotonic()))

    def label_job(self, name: str, label: str, value: str | None) -> None:
        """Set a label of a job; None removes it."""
        self._patch(f"{self._jobs}/{name}", {"metadata": {"labels": {label: value}}})

    def becomes_older(self, name: str) -> None:
        """Wait until what is created now is younger than a job: the API server writes ages in whole seconds."""
        created = datetime.fromisoformat(self.job(name)["metadata"]["creationTimestamp"])
        eventually(lambda: datetime.now(UTC) >= created + timedelta(seconds=1), f"the second after {created}")

    def has_job(self, name: str) -> bool:
        """Return whether a job exists."""
        return bool(self.api.get(f"{self._jobs}/{name}").is_success)

    def delete_job(self, name: str, *, policy: str = "Background") -> None:
        """Delete a job: its pods after it (Background) or before it (Foreground)."""
        self._expect(self.api.request("DELETE", f"{self._jobs}/{name}", json={"propagationPolicy": policy}))

    def job(self, name: str) -> Object:
        """Read a job."""
        return self._expect(self.api.get(f"{self._jobs}/{name}"))

    def version(self, name: str) -> str:
        """Return a job's resourceVersion: it changes with every write."""
        return str(self.job(name)["metadata"]["resourceVersion"])

    def watch_job(self, name: str, since: str, *, seconds: int) -> list[Object]:
        """Return every version of a job that was written after the version `since`, and in the next seconds."""
        query = {
            "watch": "1", "resourceVersion": since, "timeoutSeconds": str(seconds),
            "fieldSelector": f"metadata.name={name}",
        }  # fmt: skip
        with self.api.stream("GET", self._jobs, params=query, timeout=seconds + 30) as answer:
            seen = [json.loads(line) for line in answer.iter_lines() if line]
        return [dict(event["object"]) for event in seen if event["type"] in {"ADDED", "MODIFIED"}]

    def attempts(self, name: str) -> list[Object]:
        """Return a job's attempts that have ended."""
        return list(self.job(name)["status"].get("attempts", []))

    def phase(self, name: str) -> str:
        """Return a job's phase."""
        return str(self.job(name)["status"].get("phase", ""))

    def reaches(self, name: str, *phases: str) -> None:
        """Wait until a job is in one of these phases."""
        eventually(lambda: self.phase(name) in phases, f"{name} to be {' or '.join(phases)}")

    def condition(self, name: str, kind: str) -> Object:
        """Return a condition of a job, empty while it has none of that type."""
        conditions = self.job(name)["status"].get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {})

    def waits_for(self, name: str, reason: str) -> Object | None:
        """Return a job's Reconciling condition while it has this reason."""
        condition = self.condition(name, "Reconciling")
        return condition if condition.get("reason") == reason else None
