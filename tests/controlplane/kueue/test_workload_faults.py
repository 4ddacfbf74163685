"""Faults of calls that chaos runs with plain Jobs have found, one by one."""

import asyncio
from pathlib import Path
from random import Random

from tests.chaos.api import Api
from tests.chaos.gpu_events import uuid_changed
from tests.chaos.proxy import UNTOUCHED, Call, Fate
from tests.chaos.stage import open_stage
from tests.controlplane.kueue.conftest import Play


def test_kueue_is_found_after_a_call_without_an_answer(play: Play, tmp_path: Path) -> None:
    """The operator asks at its start whether there is Kueue; what has no answer is unknown (law 10)."""

    def decide(call: Call) -> Fate:
        asks = call.path.endswith("/v1beta2/workloads") and call.query.get("limit") == "1"
        return Fate(hang=True) if asks and call.number == 1 else UNTOUCHED

    async def scene(api: Api) -> None:
        async with open_stage(api, tmp_path, "kueue-asked", quota=1, settings={"REQUEST_TIMEOUT": "1"}) as stage:
            operator = stage.operators["operator-0"]
            stage.proxies[operator.name].decide = decide
            operator.start()
            await stage.plain.apply("plain")
            await stage.comes_to_rest(within=40)
            assert operator.starts == 1

    play(scene)


def test_no_pod_starts_on_a_gpu_that_replaced_the_one_of_its_turn(play: Play, tmp_path: Path) -> None:
    """The Job controller replaces the pod that died with the GPU 10 s later, on the same node."""

    async def scene(api: Api) -> list[str]:
        async with open_stage(api, tmp_path, "gpu-replaced", train_seconds=4, quota=1) as stage:
            stage.operators["operator-0"].start()
            await stage.plain.apply("plain")
            async with asyncio.timeout(60):
                while not stage.residents[0].trainer_mib:
                    await asyncio.sleep(0.1)
            await uuid_changed(stage, Random(1))
            await stage.comes_to_rest(within=90)
            return stage.kubelet.misplaced

    assert play(scene) == []
