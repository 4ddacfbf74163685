"""Lists are read in pages that are bounded by bytes: every object comes once, however large the objects are."""

import asyncio

import httpx
import pytest

from devcluster import Cluster
from devcluster.scripted.world import World
from gpu_relay.clients.kube import Kube


@pytest.mark.parametrize(("count", "size"), [(12, 900_000), (600, 10)])
def test_each_object_of_a_list_comes_once(
    cluster: Cluster, world: World, api: httpx.Client, count: int, size: int
) -> None:
    path = f"/api/v1/namespaces/{world.namespace}/configmaps"
    names = [f"page-{number:03}" for number in range(count)]
    for name in names:
        body = {"metadata": {"name": name, "labels": {"page": "yes"}}, "data": {"text": "x" * size}}
        api.post(path, json=body).raise_for_status()

    async def read() -> list[str]:
        async with Kube.connect(field_manager="test", timeout=30, kubeconfig=str(cluster.kubeconfig)) as kube:
            return [raw["metadata"]["name"] async for raw in kube.each(path, labels="page=yes")]

    assert asyncio.run(read()) == names
