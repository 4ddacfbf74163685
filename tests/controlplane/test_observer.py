"""What the observer of the chaos runs sees: laws are broken on purpose."""

import asyncio
import json
import time
from pathlib import Path

import aiohttp

from devcluster import Cluster
from tests.chaos.api import Api
from tests.chaos.faults import plan_of
from tests.chaos.observer import Observer
from tests.chaos.proxy import Fate
from tests.chaos.stage import open_stage


def test_the_observer_sees_what_breaks_a_law(cluster: Cluster, tmp_path: Path) -> None:
    """During a training, a user orders a load, creates a second pod, and moves the Lease."""

    async def scene() -> list[str]:
        async with (
            Api.of_run(cluster.run_dir) as api,
            open_stage(api, tmp_path, "observed", train_seconds=6) as stage,
            aiohttp.ClientSession() as http,
        ):
            observer = Observer(stage)
            watching = asyncio.create_task(observer.run())
            await asyncio.sleep(0.2)
            stage.operators["operator-0"].start()
            await stage.apply("first")
            pods = f"/api/v1/namespaces/{stage.name}/pods"
            while (pod := await api.find(f"{pods}/first-1")) is None or pod["status"].get("phase") != "Running":
                await asyncio.sleep(0.1)
            assert observer.violations == []
            resident = await api.get(f"{stage.pods_path(stage.system)}/{stage.lenders.present[0].name}")
            lease = (await stage.gpu_leases())[0]
            order = {"holder": lease["spec"]["holderIdentity"], "fence": lease["spec"]["leaseTransitions"]}
            url = f"http://{resident['status']['podIP']}:8000/api/v1/load"
            async with http.post(url, json=order) as answer:
                assert answer.status == 503, "there is no memory for it"
            await _sees(observer, "a load was ordered")
            labels = {**pod["metadata"]["labels"], "gpurelay.dev/fence": "1"}
            spec = {"containers": [{"name": "main", "image": "x"}]}
            await api.create(pods, {"metadata": {"name": "second", "labels": labels}, "spec": spec})
            path = f"/apis/coordination.k8s.io/v1/namespaces/{stage.system}/leases/{lease['metadata']['name']}"
            await api.merge(path, {"spec": {"holderIdentity": "yolotrainingjob/a/b/c"}})
            for sentence in ("second was created beside", "second was created while", "directly"):
                await _sees(observer, sentence)
            watching.cancel()
            return observer.verdict()

    seen = "\n".join(asyncio.run(scene()))
    for sentence in (
        "a load was ordered while ['first-1'] live on the GPU",
        "second was created beside ['first-1']",
        "second was created while 4670 MiB are free",
        "second was created under fence 1 while",
        "to yolotrainingjob/a/b/c directly",
    ):
        assert sentence in seen


def test_the_observer_sees_what_is_unknown_and_treated_as_gone(cluster: Cluster, tmp_path: Path) -> None:
    """A pod is created on the GPU of a resident that does not answer, and deleted while its job cannot be read."""

    async def scene() -> list[str]:
        async with (
            Api.of_run(cluster.run_dir) as api,
            open_stage(api, tmp_path, "unknown") as stage,
            aiohttp.ClientSession() as http,
        ):
            observer = Observer(stage)
            watching = asyncio.create_task(observer.run())
            await asyncio.sleep(0.2)
            resident = stage.lenders.present[0]
            resident.fall_silent(Fate(hang=True))
            await asyncio.sleep(1.2)
            labels = {f"gpurelay.dev/{key}": value for key, value in
                      {"gpu": resident.gpu, "job": "digits", "job-uid": "x", "fence": "1"}.items()}  # fmt: skip
            spec = {"containers": [{"name": "trainer", "image": "x"}]}
            await api.create(stage.pods_path(), {"metadata": {"name": "digits-1", "labels": labels}, "spec": spec})
            await _sees(observer, "law 10: digits-1 was created while its GPU's resident does not answer")
            stage.happenings.unreadable[stage.name, "digits"] = time.monotonic()
            door = json.loads((tmp_path / f"{stage.name}-operator-0.kubeconfig").read_text())["clusters"][0]["cluster"]
            async with http.delete(f"{door['server']}{stage.pods_path()}/digits-1") as answer:
                assert answer.status == 200
            await _sees(observer, "law 10: digits-1 was deleted")
            watching.cancel()
            return observer.violations

    assert len([each for each in asyncio.run(scene()) if "law 10" in each]) == 2


async def _sees(observer: Observer, words: str) -> None:
    """Wait until an observer has seen a violation whose text contains these words."""
    async with asyncio.timeout(30):
        while not any(words in violation for violation in observer.violations):
            await asyncio.sleep(0.1)


def test_a_seed_is_always_the_same_run() -> None:
    assert plan_of(17) == plan_of(17)
    assert plan_of(17) != plan_of(18)
