"""One run under faults: a stage, weather, disasters and events by seed, and an observer who has the last word."""

import asyncio
import random
import time
from dataclasses import dataclass
from pathlib import Path

from gpu_relay.clients.kube import KubeError, Object
from tests.chaos.api import Api
from tests.chaos.disasters import RECOVERY, strike
from tests.chaos.events import ALL_EVENTS
from tests.chaos.faults import Plan, Weather
from tests.chaos.nodes import SHARES
from tests.chaos.observer import Observer
from tests.chaos.plain_jobs import ends_of
from tests.chaos.stage import Stage, open_stage

PATIENCE = 180.0
"""Seconds after its last event in which a run has to come to rest."""
_STARTUP = 4.0
"""Seconds in which an operator starts, imports and LISTs."""
_LOOK = 0.1
_STARVED = 0.3
_SETTINGS = {
    "LEASE_DURATION": "4",
    "START_FAILURE_TIMEOUT": "3",
    "POD_START_TIMEOUT": "10",
    "MAX_IDLE_OUTAGE": "6",
}


@dataclass(frozen=True)
class Outcome:
    """How a run ended; it is good when there are no `violations`."""

    plan: Plan
    faults: list[str]
    violations: list[str]
    seconds: float
    starts: int
    """Of operator processes: those beyond the number of operators followed a crash, a kill or lost leadership."""


async def run(api: Api, folder: Path, plan: Plan, patience: float = PATIENCE) -> Outcome:
    """Make a run."""
    began = time.monotonic()
    async with open_stage(
        api,
        folder,
        f"seed-{plan.seed}",
        gpus=plan.gpus,
        replicas=plan.replicas,
        skews=plan.skews,
        settings={**_SETTINGS, "PREPARATIONS": str(plan.preparations)},
        train_seconds=plan.training,
        quota=plan.quota,
        shares=1 if plan.wide else SHARES,
    ) as stage:
        stage.calm = plan.calm
        weather, observer = Weather(plan, happenings=stage.happenings), Observer(stage)
        stage.lenders.follow(weather.decide)
        for proxy in stage.proxies.values():
            proxy.decide = weather.decide
        watching = asyncio.create_task(observer.run())
        await asyncio.sleep(_LOOK)
        with stage.happenings.concerns_everyone(_STARTUP):
            for operator in stage.operators.values():
                operator.start()
        for number in range(plan.jobs - plan.plain):
            await stage.apply(f"job-{number}")
        for number in range(plan.plain):
            await stage.plain.apply(f"plain-{number}", pods=2 if number < plan.wide else 1)
        beside = [watching, *map(asyncio.create_task, (_keep_running(stage), _note_starvation(stage)))]
        failure = await _rest(stage, plan, patience)
        for task in beside:
            task.cancel()
        ends = await asyncio.gather(*beside, return_exceptions=True)
        violations = observer.verdict() + failure + [repr(end) for end in ends if isinstance(end, Exception)]
        starts = sum(operator.starts for operator in stage.operators.values())
        return Outcome(plan, weather.done, violations, time.monotonic() - began, starts)


async def _rest(stage: Stage, plan: Plan, patience: float) -> list[str]:
    """Have all take place, and wait for the end of all jobs; return what is wrong with it."""
    failures: list[str] = []
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(strike(stage, plan.disasters))
            tasks.create_task(_bystander(stage, plan))
            for number, (when, name) in enumerate(plan.events):
                tasks.create_task(_event(stage, when, name, random.Random(f"{plan.seed}/{number}")))
    except* KubeError as errors:
        failures = [f"the run itself failed: {error!r}" for error in errors.exceptions]
    if failures:
        return failures
    try:
        await stage.comes_to_rest(within=patience)
    except AssertionError as error:
        return [str(error)]
    judged = [job for job in await stage.judged_jobs() if not _may_fail(stage, job)]
    bad = [job for job in judged if job["status"]["phase"] != "Succeeded"]
    plain = [f"{job['metadata']['name']} failed" for job in await stage.plain.jobs() if ends_of(job) != ["Complete"]]
    return [f"{job['metadata']['name']} ended as {job['status']['phase']}: {_why(job)}" for job in bad] + plain


def _may_fail(stage: Stage, job: Object) -> bool:
    """Return True for a job that has only one attempt, if its trainer was killed."""
    return job["spec"].get("backoffLimit") == 0 and job["metadata"]["name"] in stage.kubelet.killed


async def _bystander(stage: Stage, plan: Plan) -> None:
    await asyncio.sleep(plan.bystander_at)
    await stage.apply("bystander", stage.bystander)


async def _event(stage: Stage, when: float, name: str, draw: random.Random) -> None:
    """Have an event take place at its moment; one whose victim is gone does nothing."""
    await asyncio.sleep(when)
    try:
        await ALL_EVENTS[name].act(stage, draw)
    except KubeError as error:
        if error.status != 404:
            raise


async def _note_starvation(stage: Stage) -> None:
    """Excuse the time in which the machine does not run even this process: it says nothing about the operator."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(_LOOK)
        ended = time.monotonic()
        if ended - began > _STARVED:
            stage.happenings.everyone.append((began, ended))


async def _keep_running(stage: Stage) -> None:
    """Start operators that have ended, as a kubelet restarts their containers."""
    while True:
        for operator in stage.operators.values():
            if not operator.running:
                with stage.happenings.concerns_everyone(RECOVERY):
                    operator.start()
        await asyncio.sleep(_LOOK)


def _why(job: "dict[str, object]") -> str:
    status = job["status"]
    assert isinstance(status, dict)
    words = [f"{each['reason']}: {each['message']}" for each in status["conditions"] if each["status"] == "True"]
    return "; ".join(words)
