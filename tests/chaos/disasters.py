"""What befalls processes and jobs in a run, each at its moment."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence

from tests.chaos.api import ApiError
from tests.chaos.operators import Operator
from tests.chaos.stage import Stage

_PAUSE = 5.0
"""Longer than the leader's Lease of these runs."""
_SUSPENSION = 1.5
_LOOKS, _LOOK = 30, 0.1


async def _operator_killed(stage: Stage) -> None:
    (await _leader(stage)).kill()


async def _operator_paused(stage: Stage) -> None:
    victim = await _leader(stage)
    victim.signal(signal.SIGSTOP)
    await asyncio.sleep(_PAUSE)
    victim.signal(signal.SIGCONT)


async def _resident_restarted(stage: Stage) -> None:
    stage.restarted = True
    for resident in stage.residents:
        resident.loaded, resident.hold = False, None


async def _trainer_killed(stage: Stage) -> None:
    stage.kubelet.kill()


async def _job_suspended(stage: Stage) -> None:
    name = await _training(stage)
    await stage.change(name, suspend=True)
    await asyncio.sleep(_SUSPENSION)
    await stage.change(name, suspend=False)


async def _job_deleted(stage: Stage) -> None:
    await stage.delete(await _training(stage))


STRIKES: dict[str, Callable[[Stage], Awaitable[None]]] = {
    "operator killed": _operator_killed,
    "operator paused": _operator_paused,
    "resident restarted": _resident_restarted,
    "trainer killed": _trainer_killed,
    "job suspended": _job_suspended,
    "job deleted": _job_deleted,
}


async def strike(stage: Stage, disasters: Sequence[tuple[float, str]]) -> None:
    """Have them happen, each so many seconds after now; one whose victim is gone does nothing."""
    began = time.monotonic()
    for when, name in disasters:
        await asyncio.sleep(max(0.0, when - (time.monotonic() - began)))
        try:
            await STRIKES[name](stage)
        except ApiError as error:
            if error.status != 404:
                raise


async def _leader(stage: Stage) -> Operator:
    return stage.operators.get(await stage.leader()) or next(iter(stage.operators.values()))


async def _training(stage: Stage) -> str:
    """Name a job whose training is live, waiting a little for one; or any other."""
    for _ in range(_LOOKS):
        names = {job["status"].get("phase"): job["metadata"]["name"] for job in await stage.jobs()}
        if "Training" in names:
            return str(names["Training"])
        await asyncio.sleep(_LOOK)
    return str(next(iter(names.values()), "job-0"))
