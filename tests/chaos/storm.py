"""One run under faults: a stage, weather and disasters by seed, and an observer who has the last word."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.api import Api
from tests.chaos.disasters import strike
from tests.chaos.faults import Plan, Weather, plan_of
from tests.chaos.observer import Observer
from tests.chaos.stage import Stage, open_stage

_PATIENCE = 180.0
_LEASE = "4"
_TRAINING = 1.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended; it is good when there are no `violations`."""

    plan: Plan
    faults: list[str]
    violations: list[str]
    seconds: float
    starts: int
    """Of operator processes: those beyond the number of operators followed a crash, a kill or lost leadership."""


async def run(api: Api, folder: Path, seed: int) -> Outcome:
    """Make the run of a seed."""
    plan, began = plan_of(seed), time.monotonic()
    settings = {"LEASE_DURATION": _LEASE}
    async with open_stage(
        api,
        folder,
        f"seed-{seed}",
        gpus=plan.gpus,
        replicas=plan.replicas,
        skews=plan.skews,
        settings=settings,
        train_seconds=_TRAINING,
    ) as stage:
        weather, observer = Weather(plan), Observer(stage)
        for proxy in stage.proxies.values():
            proxy.decide = weather.decide
        watching = asyncio.create_task(observer.run())
        await asyncio.sleep(0.1)
        for operator in stage.operators.values():
            operator.start()
        for number in range(plan.jobs):
            await stage.apply(f"job-{number}")
        disasters = asyncio.create_task(strike(stage, plan.disasters))
        failure = await _rest(stage, disasters)
        watching.cancel()
        end = (await asyncio.gather(watching, return_exceptions=True))[0]
        violations = observer.verdict() + failure + [repr(end)] * isinstance(end, Exception)
        starts = sum(operator.starts for operator in stage.operators.values())
        return Outcome(plan, weather.done, violations, time.monotonic() - began, starts)


async def _rest(stage: Stage, disasters: "asyncio.Task[None]") -> list[str]:
    """Wait for the end of all jobs; return what is wrong with it."""
    try:
        await disasters
        await stage.comes_to_rest(within=_PATIENCE)
    except AssertionError as error:
        return [str(error)]
    bad = [job for job in await stage.jobs() if job["status"]["phase"] != "Succeeded"]
    return [f"{job['metadata']['name']} ended as {job['status']['phase']}" for job in bad]
