"""Events of the tenant's jobs: what is written into them, and what they wait for."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from random import Random

from gpu_relay.clients.kube import KubeError
from tests.chaos.jobs import begin_training
from tests.chaos.kubelet import HANGS
from tests.chaos.proxy import Call
from tests.chaos.stage import Stage

_LASTS = 4.0
_HANG = 25.0
"""Seconds for which preparations hang: longer than a bystander may wait."""
_CHECKPOINT = 1.5
_TRIES, _TRY = 50, 0.1
_INVALID = 422


async def spec_unreadable(stage: Stage, draw: Random) -> None:
    """A job's spec has, while its pod trains, what the API server lets pass and the operator does not.

    `\\s` of the CRD's pattern stands for white space of ASCII, that of the operator's for all of Unicode's.
    """
    name = "unreadable"
    await begin_training(stage, name)
    with _cannot_be_read(stage, name):
        try:
            await stage.change(name, podTemplate={"image": "gpu-relay/yolo\u00a01"})
        except KubeError as error:
            if error.status != _INVALID:
                raise
        await asyncio.sleep(_LASTS)
    await stage.change(name, podTemplate={"image": None})


async def phase_unknown(stage: Stage, draw: Random) -> None:
    """A job's status has a phase of a later version while its pod trains; later the old one is there again."""
    name = "phase-unknown"
    await begin_training(stage, name)
    path = f"{stage.jobs_path()}/{name}"
    before = (await stage.api.get(path))["status"].get("phase")

    def ends_when_rewritten(call: Call) -> None:
        """The operator that replaces the status knows the phase again, and may stop the training for any cause."""
        if call.method == "PATCH" and call.path == f"{path}/status" and isinstance(json.loads(call.body), list):
            stage.happenings.unreadable.pop((stage.name, name), None)

    with _cannot_be_read(stage, name):
        stage.fates.insert(0, ends_when_rewritten)
        await stage.api.merge(f"{path}/status", {"status": {"phase": "Hibernating"}})
        await asyncio.sleep(_LASTS)
        stage.fates.remove(ends_when_rewritten)
    if (await stage.api.get(path))["status"].get("phase") == "Hibernating":
        await stage.api.merge(f"{path}/status", {"status": {"phase": before}})


async def status_unreadable(stage: Stage, draw: Random) -> None:
    """A job's status has, while its pod trains, a time that the API server lets pass and the operator cannot read."""
    name = "status-unreadable"
    await begin_training(stage, name)
    path = f"{stage.jobs_path()}/{name}"
    before = (await stage.api.get(path))["status"].get("startTime")
    with _cannot_be_read(stage, name):
        await stage.api.merge(f"{path}/status", {"status": {"startTime": "0000-01-01T00:00:00Z"}})
        await asyncio.sleep(_LASTS)
    await stage.api.merge(f"{path}/status", {"status": {"startTime": before}})


async def reason_unknown(stage: Stage, draw: Random) -> None:
    """The conditions of a job that waits have a reason of a later version."""
    await stage.apply("later", suspend=True)
    path = f"{stage.jobs_path()}/later"
    for _ in range(_TRIES):
        conditions = (await stage.api.get(path)).get("status", {}).get("conditions", [])
        if conditions:
            break
        await asyncio.sleep(_TRY)
    unknown = [{**each, "reason": "FromALaterVersion"} for each in conditions]
    await stage.api.merge(f"{path}/status", {"status": {"conditions": unknown}})
    await stage.change("later", suspend=False)


async def same_name_again(stage: Stage, draw: Random) -> None:
    """A job is deleted and created again while its old pod still writes a checkpoint."""
    name = "again"
    await begin_training(stage, name)
    path = f"{stage.jobs_path()}/{name}"
    before, stage.kubelet.checkpoint = stage.kubelet.checkpoint, _CHECKPOINT
    await stage.api.remove(path, propagationPolicy="Background")
    for _ in range(_TRIES):
        try:
            await stage.apply(name, backoffLimit=0)
            break
        except KubeError as error:
            if error.status != 409:
                raise
            await asyncio.sleep(_TRY)
    await asyncio.sleep(_CHECKPOINT)
    stage.kubelet.checkpoint = before


async def preparations_hang(stage: Stage, draw: Random) -> None:
    """The preparations of two jobs do not end, and take their namespace's slots, until somebody deletes the jobs."""
    names = [f"{HANGS}{number}" for number in range(2)]
    for name in names:
        stage.happenings.unjudged.add(name)
        await stage.apply(name)
    await asyncio.sleep(_HANG)
    for name in names:
        await stage.delete(name)


async def claims_missing(stage: Stage, draw: Random) -> None:
    """Two jobs name a PVC that does not exist."""
    claim = {"persistentVolumeClaim": {"claimName": "misspelt"}, "path": "digits"}
    for number in range(2):
        stage.happenings.unjudged.add(f"lost-{number}")
        await stage.apply(f"lost-{number}", dataset=claim)


@contextlib.contextmanager
def _cannot_be_read(stage: Stage, name: str) -> Iterator[None]:
    """Check that a job's training run continues in the block."""
    stage.happenings.unreadable[stage.name, name] = time.monotonic()
    try:
        yield
    finally:
        stage.happenings.unreadable.pop((stage.name, name), None)
