"""The label by which the pods of a Workload's turn find their node, on the real API server."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from devcluster import Cluster
from gpu_relay.clients.kube import Kube
from gpu_relay.clients.nodes import NodeStore

PIN = "gpurelay.dev/pin"
NODE = "node-of-a-turn"
PATH = f"/api/v1/nodes/{NODE}"
MERGE = {"Content-Type": "application/merge-patch+json"}
Calls = Counter[str]


@pytest.fixture
def calls() -> Calls:
    """The store's requests, by method."""
    return Counter()


@pytest.fixture
def node(api: httpx.Client) -> Iterator[None]:
    api.post("/api/v1/nodes", json={"metadata": {"name": NODE, "labels": {"zone": "a"}}}).raise_for_status()
    yield
    remove_node(api)


def remove_node(api: httpx.Client) -> None:
    api.delete(PATH)


@pytest.fixture
async def store(cluster: Cluster, node: None, calls: Calls) -> AsyncIterator[NodeStore]:
    def count(method: str, _status: str) -> None:
        calls[method] += 1

    async with Kube.connect(field_manager="test", timeout=10, kubeconfig=str(cluster.kubeconfig), count=count) as kube:
        yield NodeStore(kube, "nvidia.com/gpu", lists_pods=True)


def pin_of(api: httpx.Client) -> str | None:
    pin: str | None = api.get(PATH).json()["metadata"]["labels"].get(PIN)
    return pin


def set_by_another(api: httpx.Client, pin: str | None) -> None:
    api.patch(PATH, json={"metadata": {"labels": {PIN: pin}}}, headers=MERGE).raise_for_status()


async def test_what_is_known_of_the_node_has_the_label_without_another_read(
    api: httpx.Client, store: NodeStore, calls: Calls
) -> None:
    before = await store.state(NODE)
    assert before is not None
    calls.clear()
    await store.set_pin(NODE, "first")
    with_label = store.known(NODE)
    assert with_label is not None
    assert with_label.labels == {**before.labels, PIN: "first"}
    assert pin_of(api) == "first"
    assert await store.remove_pin(NODE)
    assert store.known(NODE) == before
    assert pin_of(api) is None
    assert calls == {"PATCH": 2}


async def test_a_label_that_this_process_has_not_set_is_removed(api: httpx.Client, store: NodeStore) -> None:
    set_by_another(api, "before")
    assert await store.remove_pin(NODE)
    assert pin_of(api) is None


async def test_the_value_that_is_removed_is_the_one_that_the_node_has(api: httpx.Client, store: NodeStore) -> None:
    await store.state(NODE)
    await store.set_pin(NODE, "first")
    set_by_another(api, "second")
    assert await store.remove_pin(NODE)
    assert pin_of(api) is None
    known = store.known(NODE)
    assert known is not None
    assert PIN not in known.labels


async def test_a_label_that_is_already_gone_is_no_failure(api: httpx.Client, store: NodeStore) -> None:
    await store.state(NODE)
    await store.set_pin(NODE, "first")
    set_by_another(api, None)
    assert await store.remove_pin(NODE)
    remove_node(api)
    assert await store.remove_pin(NODE)


async def test_without_an_answer_the_node_may_still_have_it(cluster: Cluster, store: NodeStore) -> None:
    connected = Kube.connect(field_manager="test", timeout=0.000001, kubeconfig=str(cluster.kubeconfig))
    async with connected as kube:
        hurried = NodeStore(kube, "nvidia.com/gpu", lists_pods=True)
        assert not await hurried.remove_pin(NODE)
