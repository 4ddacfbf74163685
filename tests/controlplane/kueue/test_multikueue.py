"""Jobs that MultiKueue runs in another cluster: two control planes, each with the real Kueue and an operator."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from devcluster import Cluster, accounts
from devcluster.controlplane import api_client
from devcluster.paths import REPOSITORY
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.furnished import furnish, service_account_kubeconfig
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.controlplane.conftest import open_world
from tests.controlplane.kueue.conftest import Quotas
from tests.support.breakable import Breakable

COMPONENT = REPOSITORY / "manifests/components/kueue"
KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
MULTIKUEUE = "kueue.x-k8s.io/multikueue"


@pytest.fixture(scope="module")
def manager(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster in which users create jobs; `cluster` is the worker cluster, which has the GPUs."""
    with Cluster(kueue=True) as manager:
        furnish(manager)
        for each in (manager, cluster):
            each.kubectl("apply", "-f", str(COMPONENT / "rbac.yaml"), "-f", str(COMPONENT / "multikueue.yaml"))
        yield manager


@pytest.fixture(scope="module")
def line(cluster: Cluster) -> Iterator[Breakable]:
    """What lies between Kueue of the manager cluster and the API server of the worker cluster."""
    line = Breakable(json.loads(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"])
    yield line
    line.close()


@pytest.fixture(scope="module")
def connected(manager: Cluster, cluster: Cluster, line: Breakable) -> Iterator[httpx.Client]:
    """A client of the manager cluster, whose Kueue has a kubeconfig of the worker cluster."""
    account, namespace = "manager", "kueue-system"
    cluster.kubectl("-n", namespace, "create", "serviceaccount", account)
    verbs, kinds = "--verb=get,list,watch,create,delete", "--resource=jobs.batch,pods"
    cluster.kubectl("create", "clusterrole", "kueue-integrations", verbs, kinds)
    for role in ("gpu-relay-multikueue-worker", "kueue-integrations"):
        who = (f"--clusterrole={role}", f"--serviceaccount={namespace}:{account}")
        cluster.kubectl("create", "clusterrolebinding", role, *who)
    with api_client(cluster.run_dir) as there, api_client(manager.run_dir) as here:
        kubeconfig = accounts.write_kubeconfig(there, cluster.run_dir, namespace, account)
        config = json.loads(kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = line.url
        data = {"kubeconfig": base64.b64encode(json.dumps(config).encode()).decode()}
        secret = {"metadata": {"name": "worker"}, "data": data}
        here.post(f"/api/v1/namespaces/{namespace}/secrets", json=secret).raise_for_status()
        source = {"kubeConfig": {"location": "worker", "locationType": "Secret"}}
        post(here, "multikueueclusters", "MultiKueueCluster", "worker", {"clusterSource": source})
        post(here, "multikueueconfigs", "MultiKueueConfig", "workers", {"clusters": ["worker"]})
        parameters = {"apiGroup": "kueue.x-k8s.io", "kind": "MultiKueueConfig", "name": "workers"}
        check = {"controllerName": MULTIKUEUE, "parameters": parameters}
        post(here, "admissionchecks", "AdmissionCheck", "elsewhere", check)
        eventually(lambda: active(here, "admissionchecks/elsewhere"), "the connection to the worker cluster", within=60)
        yield here


def post(api: httpx.Client, plural: str, kind: str, name: str, spec: dict[str, Any]) -> None:
    body = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": {"name": name}, "spec": spec}
    answer = api.post(f"{KUEUE}/{plural}", json=body)
    assert answer.is_success, answer.text


def active(api: httpx.Client, path: str) -> bool:
    conditions = api.get(f"{KUEUE}/{path}").json().get("status", {}).get("conditions", [])
    return any(each["type"] == "Active" and each["status"] == "True" for each in conditions)


@pytest.fixture
def here(connected: httpx.Client, world: World, quotas: Quotas) -> Iterator[World]:
    """The namespace of the manager cluster, with a LocalQueue as in the worker cluster."""
    quotas.create(1, "team")
    with open_world(connected, world.namespace) as here:
        queues = Quotas(connected, here)
        queues.create(1, "team", admissionChecksStrategy={"admissionChecks": [{"name": "elsewhere"}]})
        yield here
        connected.delete(f"/apis/gpurelay.dev/v1alpha1/namespaces/{here.namespace}/yolotrainingjobs")
        queues.close()


@pytest.fixture
def there(world: World, resident: ScriptedResident, operator: OperatorProcess) -> World:
    """The namespace of the worker cluster, with a resident and the operator."""
    return world


@pytest.fixture
def operator_here(
    manager: Cluster, here: World, operator_program: type[OperatorProcess], tmp_path: Path
) -> Iterator[OperatorProcess]:
    """The operator of the manager cluster."""
    operator = operator_program(service_account_kubeconfig(manager, "gpu-relay"), tmp_path / "here.log")
    operator.start()
    yield operator
    operator.stop()


Trains = Callable[[], None]


@pytest.fixture
def trains(here: World, there: World, operator_here: OperatorProcess) -> Trains:
    """Have a job train in the worker cluster."""

    def train() -> None:
        eventually(lambda: there.has_job("digits"), "the job in the worker cluster")
        there.shows_pod("digits-1")
        there.bind_pod("digits-1", "node-1")
        there.run_pod("digits-1")
        here.reaches("digits", "Training")

    return train


def test_a_job_trains_in_another_cluster(
    here: World, there: World, resident: ScriptedResident, quotas: Quotas, trains: Trains
) -> None:
    here.apply_job("digits", queue="team", managedBy=MULTIKUEUE)
    trains()
    assert not resident.loaded
    assert quotas.workload("digits")["metadata"]["ownerReferences"][0]["uid"] == there.job("digits")["metadata"]["uid"]
    assert "managedBy" not in there.job("digits")["spec"]
    there.end_pod("digits-1")
    here.reaches("digits", "Succeeded")
    assert here.job("digits")["status"]["attempts"][0]["pod"] == "digits-1"
    eventually(lambda: not there.has_job("digits"), "the job to be gone in the worker cluster")
    eventually(there.no_reload_pending, "the resident to be back")
    assert here.training_pods() == []
    assert here.leases() == {}


def test_a_job_that_is_suspended_here_stops_there(
    here: World, there: World, resident: ScriptedResident, trains: Trains
) -> None:
    here.apply_job("digits", queue="team", managedBy=MULTIKUEUE)
    trains()
    here.patch_job("digits", suspend=True)
    there.delete_as_kubelet("digits-1")
    here.reaches("digits", "Suspended")
    eventually(lambda: not there.has_job("digits"), "the job to be gone in the worker cluster")
    eventually(there.no_reload_pending, "the resident to be back")
    here.patch_job("digits", suspend=False)
    trains()
    here.delete_job("digits")
    there.delete_as_kubelet("digits-1")
    eventually(lambda: not there.has_job("digits"), "the job to be gone in the worker cluster")
    eventually(there.no_reload_pending, "the resident to be back")


def test_quota_is_waited_for(here: World, there: World, trains: Trains) -> None:
    here.apply_job("digits", queue="team", managedBy=MULTIKUEUE)
    trains()
    here.apply_job("second", queue="team", managedBy=MULTIKUEUE)
    condition = eventually(lambda: here.waits_for("second", "WaitingForKueue"), "the condition WaitingForKueue")
    assert "insufficient unused quota" in condition["message"]
    assert not there.has_job("second")
    there.end_pod("digits-1")
    eventually(lambda: there.has_job("second"), "the second job in the worker cluster")


class Connection:
    """Kueue's connection from the manager cluster to the worker cluster, which a test breaks."""

    def __init__(self, api: httpx.Client, line: Breakable) -> None:
        self._api = api
        self._line = line

    def lose(self) -> None:
        """Have no server answer at the address of the worker cluster."""
        self._line.lose()
        eventually(lambda: not active(self._api, "multikueueclusters/worker"), "the worker cluster to be lost")

    def restore(self) -> None:
        """Have the worker cluster answer again."""
        self._line.restore()
        eventually(lambda: active(self._api, "multikueueclusters/worker"), "the worker cluster to be back", within=90)


@pytest.fixture
def connection(connected: httpx.Client, line: Breakable) -> Iterator[Connection]:
    connection = Connection(connected, line)
    yield connection
    connection.restore()


def test_a_job_outlasts_a_short_loss_of_its_cluster(
    here: World, there: World, connection: Connection, trains: Trains
) -> None:
    here.apply_job("digits", queue="team", managedBy=MULTIKUEUE)
    trains()
    connection.lose()
    there.end_pod("digits-1")
    there.reaches("digits", "Succeeded")
    assert here.phase("digits") == "Training"
    connection.restore()
    here.reaches("digits", "Succeeded")
    assert [each["reason"] for each in here.attempts("digits")] == ["Completed"]
    eventually(lambda: not there.has_job("digits"), "the job to be gone in the worker cluster")
    eventually(there.no_reload_pending, "the resident to be back")


def test_a_job_that_is_suspended_while_its_cluster_is_lost(
    here: World, there: World, resident: ScriptedResident, connection: Connection, trains: Trains
) -> None:
    """It trains on there, and ends once Kueue finds there what has no Workload here."""
    here.apply_job("digits", queue="team", managedBy=MULTIKUEUE)
    trains()
    connection.lose()
    here.patch_job("digits", suspend=True)
    here.reaches("digits", "Suspended")
    assert there.phase("digits") == "Training"
    assert not resident.loaded
    connection.restore()
    there.delete_as_kubelet("digits-1")
    eventually(lambda: not there.has_job("digits"), "the job to be gone in the worker cluster")
    eventually(there.no_reload_pending, "the resident to be back")
    here.patch_job("digits", suspend=False)
    trains()
    there.end_pod("digits-1")
    here.reaches("digits", "Succeeded")
    eventually(there.no_reload_pending, "the resident to be back")


def test_a_job_of_another_controller_is_left_alone(here: World, operator_here: OperatorProcess) -> None:
    before = here.apply_job("digits", managedBy="example.com/other")
    here.apply_job("ours")
    eventually(lambda: here.waits_for("ours", "ResidentMissing"), "the operator to have seen both")
    assert here.job("digits").get("status") == before.get("status")


def test_who_runs_a_job_cannot_be_changed(here: World) -> None:
    here.apply_job("digits", suspend=True)
    with pytest.raises(AssertionError, match="managedBy cannot be changed"):
        here.patch_job("digits", managedBy=MULTIKUEUE)
