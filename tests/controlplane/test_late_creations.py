"""The creation of a training pod takes effect after its sender has given it up: the turn waits for it (law 1)."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from devcluster import Cluster
from tests.chaos.api import Api
from tests.chaos.observer import Observer
from tests.chaos.proxy import UNTOUCHED, Call, Fate
from tests.chaos.stage import open_stage

_REQUEST_TIMEOUT = 3.0
"""Seconds after which the operators of these runs give up a request, unless a test says otherwise."""
_AFTER_A_CHANGE_OF_LEADER = 10.0
"""Seconds: more than the change takes."""
_SELECTOR = "labelSelector"
_SHORTER_THAN_A_SLOW_READ = 0.4
"""Seconds: after a slower read the operator measures again in any case."""


def first_creation_is_late(ordered: asyncio.Event, seconds: float) -> Callable[[Call], Fate]:
    """Return a decider that delays the first creation of a pod, and sets `ordered` when it is sent."""

    def decide(call: Call) -> Fate:
        if call.method != "POST" or not call.path.endswith("/pods") or "dryRun" in call.query:
            return UNTOUCHED
        fate = UNTOUCHED if ordered.is_set() else Fate(delay=seconds)
        ordered.set()
        return fate

    return decide


def test_a_turn_waits_for_a_creation_without_an_answer(cluster: Cluster, tmp_path: Path) -> None:
    """The request reaches the API server late; meanwhile the job is suspended, and the GPU could go back."""

    async def scene() -> list[str]:
        async with (
            Api.of_run(cluster.run_dir) as api,
            open_stage(api, tmp_path, "unanswered") as stage,
        ):
            observer = Observer(stage)
            watching = asyncio.create_task(observer.run())
            ordered = asyncio.Event()
            stage.proxies["operator-0"].decide = first_creation_is_late(ordered, _REQUEST_TIMEOUT + 2.0)
            await stage.apply("job")
            stage.operators["operator-0"].start()
            async with asyncio.timeout(60):
                await ordered.wait()
                await stage.change("job", suspend=True)
                await asyncio.sleep(2 * _REQUEST_TIMEOUT + 1.0)
            await stage.change("job", suspend=False)
            await stage.comes_to_rest(within=60)
            watching.cancel()
            return observer.verdict()

    assert asyncio.run(scene()) == []


def test_a_turn_waits_for_a_creation_by_a_process_that_is_gone(cluster: Cluster, tmp_path: Path) -> None:
    """The leader ends while its request is under way; its successor finds a suspended job and no pod."""

    async def scene() -> list[str]:
        settings = {"REQUEST_TIMEOUT": "15", "LEASE_DURATION": "3"}
        async with (
            Api.of_run(cluster.run_dir) as api,
            open_stage(api, tmp_path, "orphaned", replicas=2, settings=settings) as stage,
        ):
            observer = Observer(stage)
            watching = asyncio.create_task(observer.run())
            ordered = asyncio.Event()
            decide = first_creation_is_late(ordered, _AFTER_A_CHANGE_OF_LEADER)
            for name, operator in stage.operators.items():
                stage.proxies[name].decide = decide
                operator.start()
            await stage.apply("job")
            async with asyncio.timeout(60):
                await ordered.wait()
            stage.operators[await stage.leader()].kill()
            await stage.change("job", suspend=True)
            await asyncio.sleep(_AFTER_A_CHANGE_OF_LEADER + 3.0)
            await stage.change("job", suspend=False)
            await stage.comes_to_rest(within=60)
            watching.cancel()
            return observer.verdict()

    assert asyncio.run(scene()) == []


@pytest.mark.parametrize("answered", [True, False])
def test_a_pod_is_created_again_only_after_a_new_measurement(cluster: Cluster, tmp_path: Path, answered: bool) -> None:
    """The pod is deleted by force before the operator has read it: its process may still hold the memory (law 1)."""

    async def scene() -> None:
        async with Api.of_run(cluster.run_dir) as api, open_stage(api, tmp_path, f"again-{answered}".lower()) as stage:
            created, fast = asyncio.Event(), asyncio.Event()

            def decide(call: Call) -> Fate:
                if call.method == "POST" and call.path.endswith("/pods") and "dryRun" not in call.query:
                    first = not created.is_set()
                    created.set()
                    return Fate(lose_answer=first and not answered)
                if created.is_set() and not fast.is_set() and "gpurelay.dev/gpu" in call.query.get(_SELECTOR, ""):
                    return Fate(delay=_SHORTER_THAN_A_SLOW_READ)
                return UNTOUCHED

            stage.proxies["operator-0"].decide = decide
            await stage.apply("job")
            stage.operators["operator-0"].start()
            path = f"{stage.pods_path()}/job-1"
            async with asyncio.timeout(60):
                await created.wait()
                while (pod := await api.find(path)) is None:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(_SHORTER_THAN_A_SLOW_READ / 3)  # the residents have answered, not the list
                stage.residents[0].faults.leak_mib = 5000
                await api.remove(path, gracePeriodSeconds=0)
                await asyncio.sleep(2.0)
                assert await api.find(path) is None, "it was created while 5000 MiB were in use"
                fast.set()
                stage.residents[0].faults.leak_mib = 0
                while (again := await api.find(path)) is None:
                    await asyncio.sleep(0.1)
            assert again["metadata"]["uid"] != pod["metadata"]["uid"]
            await stage.comes_to_rest(within=60)

    asyncio.run(scene())
