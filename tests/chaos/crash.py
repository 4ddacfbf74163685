"""The operator dies right after each of its writes and orders in turn, and every run must end alike (after Sieve)."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gpu_relay.clients.kube import Object
from tests.chaos.api import Api
from tests.chaos.nodes import SHARES
from tests.chaos.proxy import UNTOUCHED, Call, Fate
from tests.chaos.stage import Stage, open_stage

_names = itertools.count(1)
When = Literal["unheard", "heard"]
"""The killed process never hears of the answer; or it does, and dies just after."""
Victim = Literal["operator", "resident", "trainer"]


@dataclass
class Orders:
    """Counts orders over all processes, and disturbs right after the k-th."""

    k: int
    when: When
    strike: Callable[[str], None]
    """Given the name of the operator that gave the order."""
    seen: list[str]
    last: str = ""

    def decide(self, call: Call) -> Fate:
        """Decide a call's fate."""
        if not call.is_order:
            return UNTOUCHED
        self.seen.append(call.kind)
        self.last = call.operator or self.last  # the residents' door does not know its caller: the last that wrote
        if len(self.seen) != self.k:
            return UNTOUCHED

        async def strike() -> None:
            self.strike(self.last)

        if self.when == "unheard":
            return Fate(after_forwarding=strike, lose_answer=True)
        return Fate(after_answering=strike)


@dataclass(frozen=True)
class Run:
    """What one run has left, and the orders that it took."""

    state: Object
    orders: list[str]


async def run(
    api: Api,
    folder: Path,
    name: str,
    *,
    k: int = 0,
    when: When = "unheard",
    victim: Victim = "operator",
    replicas: int = 1,
    plain: Sequence[str] = (),
    pods: int = 1,
    **settings: str,
) -> Run:
    """Run two jobs, one after the other, with a blow right after the k-th order (0: none).

    `plain` are plain Jobs, each with so many pods on as many nodes.
    """
    settings = {"MAX_OUTAGE": "0", **settings}
    quota, shares = len(plain) * pods, SHARES if pods == 1 else 1
    async with open_stage(
        api, folder, name, gpus=pods, replicas=replicas, settings=settings, quota=quota, shares=shares
    ) as stage:
        orders = Orders(k, when, lambda name: _strike(stage, victim, name), [])
        stage.lenders.follow(orders.decide)
        for proxy in stage.proxies.values():
            proxy.decide = orders.decide
        for operator in stage.operators.values():
            operator.start()
        for job in ("first", "second"):
            await (stage.plain.apply(job, pods) if job in plain else stage.apply(job))
        await stage.comes_to_rest(within=90)
        return Run(await stage.final_state(), orders.seen)


def _strike(stage: Stage, victim: Victim, operator: str) -> None:
    match victim:
        case "operator":
            struck = stage.operators[operator]
            struck.kill()
            if len(stage.operators) == 1:
                struck.start()
            else:
                del stage.operators[operator]  # it stays dead: the other is to take over
        case "resident":
            stage.restarted = True
            for resident in stage.residents:  # as its process comes up again: nothing loaded, nothing promised
                stage.lenders.restart(resident)
        case "trainer":
            stage.kubelet.kill()


async def run_each(api: Api, folder: Path, numbers: Sequence[int], at_once: int, **blow: Any) -> dict[int, Run]:
    """Make one run for each k, a few at a time; `blow` are further arguments of `run`.

    When one fails, the others end, and remove what they have created, before the error is raised.
    """
    gate = asyncio.Semaphore(at_once)

    async def one(k: int) -> Run:
        async with gate:
            return await run(api, folder, f"crash-{next(_names)}", k=k, **blow)

    async with asyncio.TaskGroup() as group:
        runs = {k: group.create_task(one(k)) for k in numbers}
    return {k: task.result() for k, task in runs.items()}
