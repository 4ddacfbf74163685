"""Faults of calls that chaos runs with plain Jobs have found, one by one."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import pytest

from tests.chaos.api import Api
from tests.chaos.gpu_events import uuid_changed
from tests.chaos.proxy import UNTOUCHED, Call, Canned, Fate
from tests.chaos.stage import open_stage
from tests.controlplane.kueue.conftest import Play


async def _a_job_ends(folder: Path, name: str, decide: Callable[[Call], Fate], api: Api) -> None:
    """Run a plain Job to its end, with one start of an operator whose calls have these fates."""
    async with open_stage(api, folder, name, quota=1, settings={"REQUEST_TIMEOUT": "1"}) as stage:
        operator = stage.operators["operator-0"]
        stage.proxies[operator.name].decide = decide
        operator.start()
        await stage.plain.apply("plain")
        await stage.comes_to_rest(within=40)
        assert operator.starts == 1


def test_kueue_is_found_after_a_call_without_an_answer(play: Play, tmp_path: Path) -> None:
    """The operator asks at its start whether there is Kueue; what has no answer is unknown (law 10)."""

    def decide(call: Call) -> Fate:
        asks = call.path.endswith("/v1beta2/workloads") and call.query.get("limit") == "1"
        return Fate(hang=True) if asks and call.number == 1 else UNTOUCHED

    play(partial(_a_job_ends, tmp_path, "kueue-asked", decide))


def _answers(status: int, reason: str, message: str) -> Fate:
    """Return the fate of a call that the API server answers with an error."""
    return Fate(instead=Canned(status, {"kind": "Status", "code": status, "reason": reason, "message": message}))


@pytest.mark.parametrize("plural", ["workloads", "admissionchecks"])
def test_kueue_is_found_after_an_answer_410(play: Play, tmp_path: Path, plural: str) -> None:
    """An API server that is just starting answers so, also to a list that names no version (chaos seed 9500061)."""

    def decide(call: Call) -> Fate:
        lists = call.method == "GET" and call.path.endswith(f"/v1beta2/{plural}") and not call.is_watch
        return _answers(410, "Expired", "too old") if lists and call.number == 1 else UNTOUCHED

    play(partial(_a_job_ends, tmp_path, f"expired-{plural}", decide))


def test_checks_are_found_after_the_right_to_read_them_is_granted(play: Play, tmp_path: Path) -> None:
    may_read = False

    def decide(call: Call) -> Fate:
        reads = call.method == "GET" and call.path.endswith("/admissionchecks")
        return _answers(403, "Forbidden", "cannot list resource") if reads and not may_read else UNTOUCHED

    async def scene(api: Api) -> None:
        nonlocal may_read
        async with open_stage(api, tmp_path, "checks-granted", quota=1) as stage:
            operator = stage.operators["operator-0"]
            stage.proxies[operator.name].decide = decide
            operator.start()
            await stage.plain.apply("plain")
            async with asyncio.timeout(20):
                while "AdmissionChecks of Kueue cannot be read" not in operator.log.read_text():
                    await asyncio.sleep(0.1)
            may_read = True
            await stage.comes_to_rest(within=40)

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
