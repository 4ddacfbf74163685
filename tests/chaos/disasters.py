"""What befalls processes and jobs in a run, each at its moment."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence

from gpu_relay.clients.kube import KubeError
from tests.chaos.jobs import training
from tests.chaos.operators import Operator
from tests.chaos.stage import Stage

_PAUSE = 6.0
"""Longer than the leader's Lease of these runs, and than a measurement of memory is valid."""
_SUSPENSION = 1.5
RECOVERY = 10.0
"""Seconds from an operator's end until another one knows all that it missed: the Lease, its start, a LIST."""


async def _operator_killed(stage: Stage) -> None:
    with stage.happenings.concerns_everyone(RECOVERY):
        (await _leader(stage)).kill()


async def _operator_paused(stage: Stage) -> None:
    victim = await _leader(stage)
    with stage.happenings.concerns_everyone(RECOVERY):
        victim.signal(signal.SIGSTOP)
        await asyncio.sleep(_PAUSE)
        victim.signal(signal.SIGCONT)


async def _resident_restarted(stage: Stage) -> None:
    stage.restarted = True
    for resident in stage.residents:
        stage.lenders.restart(resident)


async def _trainer_killed(stage: Stage) -> None:
    stage.kubelet.kill()


async def _job_suspended(stage: Stage) -> None:
    name = await training(stage)
    await stage.change(name, suspend=True)
    await asyncio.sleep(_SUSPENSION)
    await stage.change(name, suspend=False)


async def _job_deleted(stage: Stage) -> None:
    await stage.delete(await training(stage))


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
        except KubeError as error:
            if error.status != 404:
                raise


async def _leader(stage: Stage) -> Operator:
    return stage.operators.get(await stage.leader()) or next(iter(stage.operators.values()))
