"""Runs under faults drawn from seeds, watched from outside; `python -m tests.chaos --runs 500` makes more of them."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from devcluster import Cluster
from tests.chaos import storm
from tests.chaos.api import Api
from tests.chaos.faults import plan_of
from tests.chaos.nodes import keep_nodes_ready
from tests.chaos.observer import Observer
from tests.chaos.proxy import UNTOUCHED, Call, Canned, Fate
from tests.chaos.stage import open_stage

SEEDS = range(1, 9)
_LONG = 6.0
"""Seconds for which no measurement of memory is valid."""
_LAST_READING = 2
"""Of the Lease, while the resident is unloaded: at the last of three samples."""
_NOTEBOOK = 9_000
"""MiB of another process, which leave no room for a job."""
_SMALL_MODEL = 2_000
"""MiB that leave room for a job beside the loaded resident."""
_LISTS_AT_START = 3
"""One is the watch's; the operator reads one at once and one a few seconds later."""


def test_a_sample_of_seeds(cluster: Cluster, tmp_path: Path) -> None:
    async def storms() -> list[storm.Outcome]:
        async with Api.of_run(cluster.run_dir) as api:
            heartbeat = asyncio.create_task(keep_nodes_ready(api, "node-1", "node-2"))
            gate = asyncio.Semaphore(4)

            async def one(seed: int) -> storm.Outcome:
                async with gate:
                    return await storm.run(api, tmp_path, plan_of(seed))

            outcomes = await asyncio.gather(*map(one, SEEDS))
            heartbeat.cancel()
            return list(outcomes)

    wrong = [outcome for outcome in asyncio.run(storms()) if outcome.violations]
    reports = (f"FAULT_SEED={each.plan.seed}: {each.violations}; {each.plan}; {each.faults}" for each in wrong)
    assert not wrong, "\n".join(reports)


def fails(method: str, ending: str, which: int, fate: Fate) -> Callable[[Call], Fate]:
    """Return a decider that touches one call only: the `which`-th with this method and end of the path."""
    seen = 0

    def decide(call: Call) -> Fate:
        nonlocal seen
        if call.method != method or not call.path.endswith(ending):
            return UNTOUCHED
        seen += 1
        return fate if seen == which else UNTOUCHED

    return decide


_500 = Fate(instead=Canned(500, {"reason": "InternalError", "message": "injected"}))


@pytest.mark.parametrize(
    ("method", "ending", "which", "fate"),
    [
        ("PATCH", "/second/status", 1, _500),
        ("POST", "/leases", 2, Fate(lose_answer=True)),  # the first one is the leader's
    ],
    ids=["another job's status cannot be written", "the answer to the Lease's creation is lost"],
)
def test_a_turn_that_began_is_followed(
    cluster: Cluster, tmp_path: Path, method: str, ending: str, which: int, fate: Fate, request: pytest.FixtureRequest
) -> None:
    async def scene() -> None:
        async with (
            Api.of_run(cluster.run_dir) as api,
            open_stage(api, tmp_path, f"follow-{which}") as stage,
        ):
            stage.proxies["operator-0"].decide = fails(method, ending, which, fate)
            await stage.apply("first")
            await stage.apply("second")
            stage.operators["operator-0"].start()
            await stage.comes_to_rest(within=60)
            assert stage.operators["operator-0"].starts == 1

    asyncio.run(scene())


def test_a_reconcile_that_the_scheduler_overtakes_orders_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """The Lease that it has read demands a load, but the next turn has already begun."""
    slow = Fate(answer_delay=0.4)

    async def scene() -> int:
        async with (
            Api.of_run(cluster.run_dir) as api,
            open_stage(api, tmp_path, "late", settings={"MAX_OUTAGE": "600"}) as stage,
        ):

            def decide(call: Call) -> Fate:
                return slow if is_lease_of_gpu(call) else UNTOUCHED

            stage.proxies["operator-0"].decide = decide
            for number in range(2):
                await stage.apply(f"job-{number}")
            stage.operators["operator-0"].start()
            await stage.comes_to_rest(within=90)
            return len(stage.residents[0].called("load"))

    assert asyncio.run(scene()) == 1


def is_lease_of_gpu(call: Call) -> bool:
    """True for the reading of a GPU's Lease, which begins each reconcile of its turn."""
    return call.method == "GET" and "/leases/gpu-" in call.path and "leader" not in call.path


@pytest.mark.parametrize("sharing", ["Exclusive", "Coresident"])
def test_a_pod_is_created_only_on_a_new_measurement(cluster: Cluster, tmp_path: Path, sharing: str) -> None:
    """A slow API server lies between measurement and pod; meanwhile memory may be taken, or the GPU may end.

    The Lease is read in the pass that creates the pod; a job beside a loaded resident has its status written first.
    """
    seen = Counter[str]()

    async def scene() -> list[str]:
        async with (
            Api.of_run(cluster.run_dir) as api,
            open_stage(api, tmp_path, sharing.lower(), settings={"REQUEST_TIMEOUT": "15"}) as stage,
        ):
            observer = Observer(stage)
            watching = asyncio.create_task(observer.run())
            await asyncio.sleep(0.2)
            resident = stage.residents[0]

            def decide(call: Call) -> Fate:
                seen["Lease"] += is_lease_of_gpu(call) and resident.hold is not None
                if sharing == "Exclusive":
                    return slow if is_lease_of_gpu(call) and seen["Lease"] == _LAST_READING else UNTOUCHED
                return slow if b"MemoryProven" in call.body and call.path.endswith("/status") else UNTOUCHED

            stage.proxies["operator-0"].decide = decide
            if sharing == "Coresident":
                resident.model_mib = resident.cap_mib = _SMALL_MODEL
            await stage.apply("job", gpu={"memory": "8Gi", "sharing": sharing})
            stage.operators["operator-0"].start()
            await stage.comes_to_rest(within=60)
            watching.cancel()
            return observer.verdict()

    slow = Fate(answer_delay=_LONG)
    assert not [each for each in asyncio.run(scene()) if "was measured" in each]


def test_memory_that_is_taken_as_a_turn_begins_causes_no_outage(cluster: Cluster, tmp_path: Path) -> None:
    """Another process takes the memory after the scheduler's last look at it, and before the resident is asked."""

    async def scene() -> tuple[int, int]:
        async with (
            Api.of_run(cluster.run_dir) as api,
            open_stage(api, tmp_path, "taken") as stage,
        ):
            resident = stage.residents[0]

            async def take() -> None:
                resident.model_mib = resident.cap_mib = _SMALL_MODEL
                resident.other_mib = _NOTEBOOK

            def decide(call: Call) -> Fate:
                begins = call.method == "POST" and call.path.endswith("/leases") and call.is_order
                return Fate(after_forwarding=take) if begins else UNTOUCHED

            stage.proxies["operator-0"].decide = decide
            await stage.apply("job")
            stage.operators["operator-0"].start()
            async with asyncio.timeout(30):
                while not (await stage.final_state())["events"].get("job WaitingForMemory"):
                    await asyncio.sleep(0.2)
            unloads = len(resident.called("unload"))
            resident.other_mib = 0
            await stage.comes_to_rest(within=60)
            return unloads, len(resident.called("unload"))

    before, after = asyncio.run(scene())
    assert before == 0
    assert after > 0


def test_a_status_that_was_overtaken_is_written_again(cluster: Cluster, tmp_path: Path) -> None:
    """The newer version may cause no event, and no full list corrects it."""
    lists, overtakes = 0, fails("PATCH", "/rests/status", 1, Fate(instead=Canned(409, {"reason": "Conflict"})))

    def decide(call: Call) -> Fate:
        nonlocal lists
        lists += call.method == "GET" and call.path.endswith("/yolotrainingjobs") and not call.is_watch
        return overtakes(call)

    async def scene() -> None:
        async with (
            Api.of_run(cluster.run_dir) as api,
            open_stage(api, tmp_path, "overtaken", settings={"RESYNC_INTERVAL": "300"}) as stage,
        ):
            stage.proxies["operator-0"].decide = decide
            stage.operators["operator-0"].start()
            async with asyncio.timeout(30):
                while lists < _LISTS_AT_START:
                    await asyncio.sleep(0.1)
            await stage.apply("rests", suspend=True)
            await stage.comes_to_rest(within=30)

    asyncio.run(scene())


def test_one_watch_is_refused_while_another_is_not_answered(cluster: Cluster, tmp_path: Path) -> None:
    """Kopf cancels the second watcher, which mistakes that for its own cancellation, and never ends."""

    def fate_of(call: Call) -> Fate:
        if not call.is_watch or call.number > 1:
            return UNTOUCHED
        expired = Canned(410, {"reason": "Expired", "message": "injected"})
        return Fate(instead=expired) if call.path.endswith("/yolotrainingjobs") else Fate(hang=True)

    async def scene() -> int:
        async with (
            Api.of_run(cluster.run_dir) as api,
            open_stage(api, tmp_path, "refused") as stage,
        ):
            operator = stage.operators["operator-0"]
            stage.proxies[operator.name].decide = fate_of
            operator.start()
            async with asyncio.timeout(40):
                while operator.running:
                    await asyncio.sleep(0.1)
            await stage.apply("job")
            await stage.comes_to_rest(within=60)
            return operator.starts

    assert asyncio.run(scene()) == 2
