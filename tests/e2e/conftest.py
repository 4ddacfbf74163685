"""The whole relay, once for the layer: operator, SAM3 and trainers as pods of images from our Dockerfiles."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.recipe import QUICK
from demo.relay import Relay
from devcluster import Cluster, NodeKind, choose, kueue
from devcluster.binaries import is_built
from devcluster.deploy import Volumes, deploy
from devcluster.paths import REPOSITORY


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests with a cluster of their own first: a machine has one kubelet node, and `relay` keeps it to the end."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.parent == here and "relay" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def relay() -> Iterator[Relay]:
    """A running relay on a kubelet where the machine can have one, else on a process node; `NODE` decides by hand."""
    choice = choose.choose(os.environ.get(choose.VARIABLE), choose.look())
    print(choice)
    if choice.node is NodeKind.NONE:
        pytest.skip(f"end-to-end tests need a node that runs pods: {choice}")
    with Cluster(choice.node, kueue=is_built(kueue.PROGRAM)) as cluster:
        if choice.node is NodeKind.KUBELET:
            cluster.load_images()
        volumes = Volumes(cluster.ledger.parent / "volumes")  # pods cannot enter pytest's own folders
        volumes.make_tiny_model()
        QUICK.make_images(volumes.data / "digits")
        if is_built(kueue.PROGRAM):
            cluster.kubectl("apply", "-f", str(REPOSITORY / "manifests/components/kueue/rbac.yaml"))
        deploy(cluster, volumes)
        yield Relay(cluster, volumes)


@pytest.fixture(autouse=True)
def report_on_failure(relay: Relay, request: pytest.FixtureRequest) -> Iterator[None]:
    """Show jobs, pods and the operator's log when a test has failed; leave no job behind."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        print(relay.report())
    relay.clear()


@pytest.fixture
def photograph() -> Path:
    """A real photograph that a package ships."""
    from sklearn import datasets

    return Path(datasets.__file__).parent / "images" / "china.jpg"
