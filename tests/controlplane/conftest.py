"""One control plane for the whole layer; a namespace, a resident and an operator for each test."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from devcluster import Cluster, audit
from devcluster.controlplane import api_client
from devcluster.programs.operator import ForkedOperator, OperatorProcess
from devcluster.scripted.furnished import create_namespace, furnish, service_account_kubeconfig
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.trainer import ScriptedTrainer
from devcluster.scripted.world import World
from tests.support.plugin import Plugin
from tests.support.reachable import local_address

_LOG_SHOWN = 6000
"""Characters of an operator's log."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A control plane with our CRD and the operator's namespace."""
    with Cluster() as cluster:
        furnish(cluster)
        yield cluster


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Iterator[httpx.Client]:
    with api_client(cluster.run_dir) as client:
        yield client


@pytest.fixture
def world(api: httpx.Client, request: pytest.FixtureRequest) -> Iterator[World]:
    """A namespace of the test's own; all of it, every Lease and the archived usage are gone afterwards."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[-50:].strip("-")
    with open_world(api, name) as world:
        yield world
        api.delete("/apis/coordination.k8s.io/v1/namespaces/gpu-relay/leases")
        api.delete("/api/v1/namespaces/gpu-relay/configmaps", params={"labelSelector": "gpurelay.dev/usage"})


@pytest.fixture
def neighbour(api: httpx.Client, world: World) -> Iterator[World]:
    """Another namespace beside the test's own."""
    with open_world(api, f"{world.namespace[:50]}-neighbour") as neighbour:
        yield neighbour


@pytest.fixture
def room(world: World) -> Iterator[None]:
    """Let the scheduler put pods on node-1: a preparing pod that it finds no place for has failed to start."""
    world.set_room("node-1", "8")
    world.set_node("node-1", "True", "kubelet is posting ready status")
    yield
    world.set_room("node-1", None)


@contextmanager
def open_world(api: httpx.Client, name: str) -> Iterator[World]:
    """Create a namespace with the PVCs that jobs name, bound; delete all of it in the end."""
    create_namespace(api, name)
    world = World(api, name)
    world.add_claims("data", "results")
    yield world
    world.empty()
    api.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
def resident(world: World) -> Iterator[ScriptedResident]:
    """A resident on node-1, loaded, with 14,000 MiB in use."""
    resident = ScriptedResident()
    world.add_resident(resident)
    yield resident
    resident.close()


@pytest.fixture
def other() -> Iterator[ScriptedResident]:
    """A resident of another GPU, which has no pod yet."""
    other = ScriptedResident(uuid="GPU-00000000-0000-0000-0000-000000000009")
    yield other
    other.close()


@pytest.fixture
def reachable_address() -> Iterator[str]:
    """An address of this machine alone to which the API server's pod proxy connects."""
    with local_address() as address:
        yield address


@pytest.fixture
def reachable(reachable_address: str) -> Iterator[ScriptedResident]:
    """A resident that answers through the API server's pod proxy; it has no pod yet."""
    resident = ScriptedResident(address=reachable_address)
    yield resident
    resident.close()


@pytest.fixture(scope="session")
def operator_kubeconfig(cluster: Cluster) -> Path:
    """The operator's own rights, those of manifests/base, and no others."""
    return service_account_kubeconfig(cluster, "gpu-relay")


@pytest.fixture
def operator_program() -> type[OperatorProcess]:
    """How operators start."""
    return ForkedOperator


@pytest.fixture
def start_operator(
    cluster: Cluster,
    operator_kubeconfig: Path,
    operator_program: type[OperatorProcess],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Callable[..., OperatorProcess]]:
    """Start operators with settings of the test's choice; none may ever ask for what its role does not allow.

    Of a test that fails, the end of each operator's log is shown.
    """
    started: list[OperatorProcess] = []
    failed = request.session.testsfailed
    before = audit.size(cluster.run_dir)

    def start(**settings: str) -> OperatorProcess:
        operator = operator_program(operator_kubeconfig, tmp_path / f"operator-{len(started)}.log", **settings)
        operator.start()
        started.append(operator)
        return operator

    yield start
    for operator in started:
        operator.stop()
        if request.session.testsfailed > failed:
            print(f"\n{operator.log()[-_LOG_SHOWN:]}")
    called = audit.calls(cluster.run_dir, audit.account("gpu-relay", "gpu-relay"), before)
    assert not [call for call in called if call.forbidden], "manifests/base/operator/rbac.yaml lacks a rule"


@pytest.fixture
def operator(world: World, start_operator: Callable[..., OperatorProcess]) -> OperatorProcess:
    """The operator, running."""
    return start_operator()


@pytest.fixture
def relay(cluster: Cluster, tmp_path: Path) -> Plugin:
    """`kubectl relay`, run by an administrator."""
    return Plugin(tmp_path / "bin", cluster.kubeconfig)


@pytest.fixture
def relay_trainer() -> Iterator[ScriptedTrainer]:
    """A trainer at epoch 12 of 100."""
    trainer = ScriptedTrainer(epochs=100, eta_seconds=900)
    trainer.epoch, trainer.metrics = 12, {"mAP50": 0.61, "mAP50_95": 0.42}
    yield trainer
    trainer.close()
