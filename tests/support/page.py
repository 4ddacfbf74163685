"""The page as a process, tokens of viewers, and jobs whose status a test writes in the operator's stead."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from devcluster import Cluster
from devcluster.paths import REPOSITORY
from devcluster.scripted.manifests import Object, job_manifest
from devcluster.waiting import eventually

RBAC = "rbac.authorization.k8s.io"
_LISTENS = re.compile(r"running on (http://127\.0\.0\.1:\d+)")


class PageProcess:
    """`gpu-relay page` before a cluster's API server."""

    def __init__(self, cluster: Cluster, log: Path, **settings: str) -> None:
        server = json.loads(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        environment = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY / "operator"),
            "GPU_RELAY_PAGE_API_SERVER": server,
            "GPU_RELAY_PAGE_CA_FILE": str(cluster.run_dir / "ca.crt"),
            "GPU_RELAY_PAGE_ADDRESS": "127.0.0.1",
            "GPU_RELAY_PAGE_PORT": "0",
            **{f"GPU_RELAY_PAGE_{name.upper()}": value for name, value in settings.items()},
        }
        with log.open("wb") as stream:
            command = [sys.executable, "-m", "gpu_relay", "page"]
            self._process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)
        self.url = eventually(lambda: _LISTENS.search(log.read_text()), "the page's address")[1]

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(15)

    @contextmanager
    def viewer(self, token: str) -> Iterator[httpx.Client]:
        """Ask with a token."""
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=30) as client:
            yield client


@contextmanager
def feed(client: httpx.Client, namespace: str = "") -> Iterator[Iterator[tuple[str, Any]]]:
    """Follow the page's feed: yields its events by name and data."""
    with client.stream("GET", "/api/feed", params={"namespace": namespace}) as answer:
        if answer.status_code != 200:
            answer.read()
        assert answer.status_code == 200, answer.text
        yield _events(answer)


def _events(answer: httpx.Response) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def viewer_token(api: httpx.Client, namespace: str, account: str, roles: dict[str, str]) -> str:
    """Create an account with ClusterRoles, each in a namespace (`*`: in all), and return a token of it."""
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    api.post(accounts, json={"metadata": {"name": account}}).raise_for_status()
    subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    for role, where in roles.items():
        binding = {
            "metadata": {"name": f"{namespace}-{account}-{role}"},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
            "subjects": [subject],
        }
        scope = "clusterrolebindings" if where == "*" else f"namespaces/{where}/rolebindings"
        api.post(f"/apis/{RBAC}/v1/{scope}", json=binding).raise_for_status()
    answer = api.post(f"{accounts}/{account}/token", json={"spec": {}}).raise_for_status()
    return str(answer.json()["status"]["token"])


def put_job(api: httpx.Client, namespace: str, name: str, *, priority: int = 0, **status: Any) -> Object:
    """Create a job, unless it exists, and write its status as the operator would."""
    jobs = f"/apis/gpurelay.dev/v1alpha1/namespaces/{namespace}/yolotrainingjobs"
    api.post(jobs, json=job_manifest(name, priority=priority))
    headers = {"Content-Type": "application/merge-patch+json"}
    answer = api.patch(f"{jobs}/{name}/status", content=json.dumps({"status": status}), headers=headers)
    assert answer.is_success, answer.text
    return dict(answer.json())


def condition(kind: str, reason: str, message: str) -> Object:
    """Return a condition that is true."""
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": ago(0)}


def ago(minutes: float) -> str:
    """Return the time so many minutes ago, as the API server writes it; of the future where negative."""
    return (datetime.now(UTC) - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
