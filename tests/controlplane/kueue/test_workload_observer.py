"""What the observer of the chaos runs sees of Workloads: laws are broken on purpose."""

import asyncio
import json
import signal
from pathlib import Path

import aiohttp

from gpu_relay.clients.kube import Object
from tests.chaos.api import Api
from tests.chaos.observer import Observer
from tests.chaos.stage import Stage, open_stage
from tests.controlplane.kueue.conftest import Play


def test_the_observer_sees_a_pod_without_a_turn_of_its_own(play: Play, tmp_path: Path) -> None:
    """While a plain Job trains, the check of a second one is set to Ready: with a pin first, then without one."""

    async def scene(api: Api) -> list[str]:
        async with open_stage(api, tmp_path, "observed-plain", train_seconds=60, quota=3) as stage:
            observer = Observer(stage)
            watching = asyncio.create_task(observer.run())
            await asyncio.sleep(0.2)
            operator = stage.operators["operator-0"]
            operator.start()
            await stage.plain.apply("first")
            async with asyncio.timeout(60):
                while not [pod for pod in await stage.plain.pods() if pod["status"].get("phase") == "Running"]:
                    await asyncio.sleep(0.1)
            assert observer.violations == []
            operator.signal(signal.SIGSTOP)  # it would evict the others
            lease = (await stage.gpu_leases())[0]
            labels = {"gpurelay.dev/gpu": lease["metadata"]["name"], "gpurelay.dev/fence": "1"}
            await _allow(stage, "second", labels)
            await _sees(observer, "-second-")
            await _sees(observer, "second-", "was created beside")
            await _allow(stage, "third", {})
            await _sees(observer, "without a GPU of its own")
            watching.cancel()
            operator.kill()
            return observer.verdict()

    seen = "\n".join(play(scene))
    assert "was created beside ['first-" in seen
    assert "was created under fence 1 while Owner(" in seen
    assert "while 4670 MiB are free" in seen


async def _allow(stage: Stage, job: str, labels: dict[str, str]) -> None:
    """Set the check of a new Job to Ready, through the operator's door."""
    await stage.plain.apply(job)
    async with asyncio.timeout(30):
        while not _is_asked(workload := await stage.plain.workload_of(job)):
            await asyncio.sleep(0.1)
    assert workload is not None
    meta, entry = workload["metadata"], workload["status"]["admissionChecks"][0]
    pin = {"name": "main", "labels": {**labels, "gpurelay.dev/workload-uid": meta["uid"]} if labels else {}}
    ready = {**entry, "state": "Ready", "message": "by hand", "podSetUpdates": [pin]}
    door = json.loads((stage.folder / f"{stage.name}-operator-0.kubeconfig").read_text())["clusters"][0]["cluster"]
    url = f"{door['server']}{stage.plain.workloads_path}/{meta['name']}/status"
    body = json.dumps({"status": {"admissionChecks": [ready]}})
    headers = {"Content-Type": "application/merge-patch+json"}
    async with aiohttp.ClientSession() as http, http.patch(url, data=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()


def _is_asked(workload: Object | None) -> bool:
    status = workload.get("status", {}) if workload is not None else {}
    return bool(status.get("admission") and status.get("admissionChecks"))


async def _sees(observer: Observer, *words: str) -> None:
    """Wait until an observer has seen a violation whose text contains these words."""
    async with asyncio.timeout(30):
        while not any(all(word in violation for word in words) for violation in observer.violations):
            await asyncio.sleep(0.1)
