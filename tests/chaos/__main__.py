"""`python -m tests.chaos --runs 500`: runs under faults, each from a seed of its own, several at a time."""

import argparse
import asyncio
import itertools
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from devcluster import Cluster
from devcluster.paths import REPOSITORY
from devcluster.scripted.furnished import furnish
from tests.chaos import storm
from tests.chaos.api import Api
from tests.chaos.events import ALL_EVENTS, EVENTS, WORKLOAD_EVENTS
from tests.chaos.faults import Plan, plan_of, plan_with, with_workloads
from tests.chaos.nodes import keep_nodes_ready
from tests.chaos.plain_jobs import create_check
from tests.chaos.storm import PATIENCE, Outcome

_EACH = "each"


def main() -> None:
    """Make runs; exits with 1 and the seeds to replay when any broke a law or did not come to rest."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="how many seeds (default 20)")
    parser.add_argument("--at-once", type=int, default=6, help="how many runs at a time (default 6)")
    parser.add_argument(
        "--seed", type=int, default=int(os.environ.get("FAULT_SEED", "0")), help="the first seed; or FAULT_SEED=…"
    )
    parser.add_argument(
        "--event", nargs="+", choices=[*ALL_EVENTS, _EACH], metavar="EVENT",
        help="have one of these events, in turn, and no other fault in each run; "
        f"{_EACH}: each of {', '.join(EVENTS)}; with --workloads also {', '.join(WORKLOAD_EVENTS)}",
    )  # fmt: skip
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE,
        help=f"seconds in which a run comes to rest (default {PATIENCE:.0f})",
    )
    parser.add_argument(
        "--workloads", action="store_true", help="some of the jobs are plain Jobs, which take turns through Kueue"
    )
    arguments = parser.parse_args()
    if not arguments.workloads and not WORKLOAD_EVENTS.keys().isdisjoint(arguments.event or []):
        parser.error("this event needs --workloads")
    first = arguments.seed or random.SystemRandom().randrange(1, 10**6)
    with Cluster(kueue=arguments.workloads) as cluster:
        furnish(cluster)
        if arguments.workloads:
            cluster.kubectl("apply", "-f", str(REPOSITORY / "manifests/components/kueue/rbac.yaml"))
        folder = Path(tempfile.mkdtemp(prefix="gpu-relay-chaos-"))
        print(f"seeds {first} to {first + arguments.runs - 1}; logs of operators in {folder}", flush=True)
        seeds = range(first, first + arguments.runs)
        plans = _plans(seeds, arguments.event, workloads=arguments.workloads)
        outcomes = asyncio.run(_all(cluster.run_dir, folder, plans, arguments.at_once, arguments.patience))
    _sum_up(outcomes)
    sys.exit(any(outcome.violations for outcome in outcomes))


def _plans(seeds: range, events: list[str] | None, *, workloads: bool) -> list[Plan]:
    names = itertools.cycle((ALL_EVENTS if workloads else EVENTS) if _EACH in (events or []) else events or [""])
    plans = [plan_with(seed, name) if name else plan_of(seed) for seed, name in zip(seeds, names, strict=False)]
    return [with_workloads(plan, more_events=not events) for plan in plans] if workloads else plans


async def _all(run_dir: Path, folder: Path, plans: list[Plan], at_once: int, patience: float) -> list[Outcome]:
    async with Api.of_run(run_dir) as api:
        if any(plan.plain for plan in plans):
            await create_check(api)
        heartbeat = asyncio.create_task(keep_nodes_ready(api, "node-1", "node-2"))
        gate = asyncio.Semaphore(at_once)

        async def one(plan: Plan) -> Outcome:
            async with gate:
                outcome = await storm.run(api, folder, plan, patience)
            print_outcome(outcome)
            return outcome

        outcomes = await asyncio.gather(*map(one, plans))
        heartbeat.cancel()
        return list(outcomes)


def print_outcome(outcome: Outcome) -> None:
    """Print one run, with all there is where it went wrong."""
    good = not outcome.violations
    events = "".join(f"; {name}" for _, name in outcome.plan.events)
    word = "ok   " if good else "WRONG"
    print(
        f"{time.strftime('%H:%M:%S')} {word} FAULT_SEED={outcome.plan.seed} {outcome.seconds:5.1f} s, "
        f"{len(outcome.faults)} faults, {outcome.starts} starts{events}",
        flush=True,
    )
    if not good:
        print(f"    {outcome.plan}", *outcome.violations, *outcome.faults, sep="\n    ", flush=True)


def _sum_up(outcomes: list[Outcome]) -> None:
    kinds = Counter(fault.rsplit(": ", 1)[-1] for outcome in outcomes for fault in outcome.faults)
    disasters = Counter(name for outcome in outcomes for _, name in (*outcome.plan.disasters, *outcome.plan.events))
    wrong = [outcome.plan.seed for outcome in outcomes if outcome.violations]
    print(
        f"{len(outcomes)} runs, {sum(kinds.values())} faults, "
        f"{sum(disasters.values())} disasters and events, {len(wrong)} wrong"
    )
    for name, number in (kinds + disasters).most_common():
        print(f"    {number:6} {name}")
    if wrong:
        print("replay with --runs 1 --seed", *wrong)


if __name__ == "__main__":
    main()
