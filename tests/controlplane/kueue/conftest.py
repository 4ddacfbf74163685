"""The real Kueue beside a control plane of this layer's own, and quotas for each test."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from devcluster import Cluster, kueue
from devcluster.binaries import is_built
from devcluster.controlplane import api_client
from devcluster.paths import REPOSITORY
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.furnished import furnish, service_account_kubeconfig
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.chaos.api import Api
from tests.chaos.plain_jobs import create_check, delete_check
from tests.controlplane.kueue.plain_jobs import PlainJobs

Play = Callable[[Callable[[Api], Awaitable[Any]]], Any]

_API = "/apis/kueue.x-k8s.io/v1beta2"
_NOT_BUILT = (
    "Kueue is not built: KUEUE=1 builds it (5 minutes on 2 cores); where it is built, these tests run by themselves"
)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A control plane with Kueue, our CRD and the operator's namespace."""
    if not is_built(kueue.PROGRAM) and os.environ.get("KUEUE") != "1":
        pytest.skip(_NOT_BUILT)
    with Cluster(kueue=True) as cluster:
        furnish(cluster)
        cluster.kubectl("apply", "-f", str(REPOSITORY / "manifests/components/kueue/rbac.yaml"))
        yield cluster


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Iterator[httpx.Client]:
    """A client of that control plane, which is not the one of the tests beside this folder."""
    with api_client(cluster.run_dir) as client:
        yield client


@pytest.fixture(scope="session")
def operator_kubeconfig(cluster: Cluster) -> Path:
    """The operator's own rights there, which the component adds to."""
    return service_account_kubeconfig(cluster, "gpu-relay")


@pytest.fixture(scope="module")
def play(cluster: Cluster) -> Iterator[Play]:
    """Run a coroutine function of the chaos runs against the control plane, where the operator's check exists."""

    async def played(scenes: Callable[[Api], Awaitable[Any]]) -> Any:
        async with Api.of_run(cluster.run_dir) as api:
            await create_check(api)
            try:
                return await scenes(api)
            finally:
                await delete_check(api)

    yield lambda scenes: asyncio.run(played(scenes))


class Quotas:
    """Kueue's objects of one test, as an administrator creates and reads them."""

    def __init__(self, api: httpx.Client, world: World) -> None:
        self._api = api
        self._world = world
        self._made: list[str] = []
        self.name = world.namespace

    def create(self, gpus: int, *queues: str, flavor: dict[str, Any] | None = None, **spec: Any) -> None:
        """Create a ResourceFlavor, a ClusterQueue with so many GPUs of it, and LocalQueues."""
        resources = [{"name": "nvidia.com/gpu", "nominalQuota": gpus}]
        group = {"coveredResources": ["nvidia.com/gpu"], "flavors": [{"name": self.name, "resources": resources}]}
        self._post(f"{_API}/resourceflavors", "ResourceFlavor", self.name, flavor or {})
        whole = {"namespaceSelector": {}, "resourceGroups": [group], **spec}
        self._post(f"{_API}/clusterqueues", "ClusterQueue", self.name, whole)
        for queue in queues:
            self.create_queue(queue)

    def create_queue(self, name: str) -> None:
        """Create a LocalQueue of the test's ClusterQueue."""
        self._post(self._in_namespace("localqueues"), "LocalQueue", name, {"clusterQueue": self.name})

    def workload(self, job: str) -> dict[str, Any]:
        """Return the Workload of a job; empty while there is none."""
        selector = {"labelSelector": f"gpurelay.dev/job={job}"}
        items = self._api.get(self._in_namespace("workloads"), params=selector).json()["items"]
        return dict(items[0]) if items else {}

    def holds(self, job: str, kind: str) -> bool:
        """True while a condition of a job's Workload is True."""
        conditions = self.workload(job).get("status", {}).get("conditions", [])
        return any(each["type"] == kind and each["status"] == "True" for each in conditions)

    def set_active(self, job: str, active: bool) -> None:
        """Deactivate a Workload, or activate it again."""
        self._patch(self._path(job), {"spec": {"active": active}})

    def delete_workload(self, job: str) -> None:
        """Delete a Workload, as a user may do by hand."""
        assert self._api.delete(self._path(job)).is_success

    def reserved(self) -> int:
        """Return how many GPUs of the ClusterQueue are reserved."""
        status = self._api.get(f"{_API}/clusterqueues/{self.name}").json().get("status", {})
        usage = [each for flavor in status.get("flavorsReservation", []) for each in flavor["resources"]]
        return sum(int(each["total"]) for each in usage)

    def close(self) -> None:
        """Delete what was made, once no Workload of it is left."""
        eventually(lambda: not self._api.get(self._in_namespace("workloads")).json()["items"], "no Workload left")
        for path in reversed(self._made):
            self._api.delete(path)

    def _path(self, job: str) -> str:
        return f"{self._in_namespace('workloads')}/{self.workload(job)['metadata']['name']}"

    def _in_namespace(self, plural: str) -> str:
        return f"{_API}/namespaces/{self._world.namespace}/{plural}"

    def _post(self, path: str, kind: str, name: str, spec: dict[str, Any]) -> None:
        body = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": {"name": name}, "spec": spec}
        answer = self._api.post(path, json=body)
        assert answer.is_success, answer.text
        self._made.append(f"{path}/{name}")

    def _patch(self, path: str, body: dict[str, Any]) -> None:
        answer = self._api.patch(path, json=body, headers={"Content-Type": "application/merge-patch+json"})
        assert answer.is_success, answer.text


@pytest.fixture
def quotas(api: httpx.Client, world: World) -> Iterator[Quotas]:
    """Kueue's objects, named after the test; they go when its jobs have gone."""
    quotas = Quotas(api, world)
    yield quotas
    api.delete(f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs")
    quotas.close()


@pytest.fixture
def jobs(api: httpx.Client, world: World, quotas: Quotas) -> Iterator[PlainJobs]:
    """A LocalQueue whose ClusterQueue has the operator's check, and enough quota for all."""
    name = world.namespace
    body = {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "AdmissionCheck",
        "metadata": {"name": name},
        "spec": {"controllerName": "gpurelay.dev/turn"},
    }
    api.post(f"{_API}/admissionchecks", json=body).raise_for_status()
    quotas.create(8, "team", admissionChecksStrategy={"admissionChecks": [{"name": name}]})
    jobs = PlainJobs(api, world, "team")
    yield jobs
    jobs.close()
    api.delete(f"/apis/gpurelay.dev/v1alpha1/namespaces/{name}/yolotrainingjobs")
    quotas.close()
    api.delete(f"{_API}/admissionchecks/{name}")


@pytest.fixture
def running(jobs: PlainJobs, operator: OperatorProcess) -> OperatorProcess:
    """The operator, which has found the check at its start."""
    return operator
