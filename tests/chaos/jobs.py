"""The tenant's jobs that events concern, and those that they add."""

import asyncio
from typing import Any

from gpu_relay.clients.kube import Object
from tests.chaos.residents import ResidentPod
from tests.chaos.stage import Stage

_LOOKS, _LOOK = 30, 0.1
_PATIENCE = 200
_NOTICED = 1.2
"""Seconds after which what an event has changed can be known."""


async def training(stage: Stage) -> str:
    """Name a job of the tenant whose training is live, waiting a little for one; or any other."""
    for _ in range(_LOOKS):
        names = {job["status"].get("phase"): job["metadata"]["name"] for job in await stage.jobs()}
        if "Training" in names:
            return str(names["Training"])
        await asyncio.sleep(_LOOK)
    return str(next(iter(names.values()), "job-0"))


async def begin_training(stage: Stage, name: str) -> None:
    """Create a job of the tenant and wait until its pod runs, or it is clear that others keep the GPUs for long."""
    await stage.apply(name)
    for _ in range(_PATIENCE):
        if any(pod["status"].get("phase") == "Running" for pod in await training_pods(stage, name)):
            return
        await asyncio.sleep(_LOOK)


async def training_pods(stage: Stage, job: str) -> list[Object]:
    """Read the training pods of a job of the tenant."""
    selector = f"gpurelay.dev/job={job},gpurelay.dev/gpu"
    return await stage.api.list(stage.pods_path(), labels=selector)


async def training_on(pod: ResidentPod) -> None:
    """Wait a little until a trainer holds memory of a resident's GPU."""
    for _ in range(_LOOKS):
        if pod.scripted.trainer_mib:
            return
        await asyncio.sleep(_LOOK)


async def meets(stage: Stage, name: str, lasts: float, **spec: Any) -> None:
    """Create jobs that meet what an event has changed, and return when the event has lasted for so many seconds.

    There are as many as GPUs, so that one of them would have the GPU that the event concerns.
    """
    await asyncio.sleep(_NOTICED)
    for number, _ in enumerate(stage.lenders.present):
        await stage.apply(f"{name}-{number}", **spec)
    await asyncio.sleep(max(0.0, lasts - _NOTICED))
