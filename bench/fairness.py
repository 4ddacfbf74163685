"""The outage of the resident and the time of the jobs under each policy: `python -m bench.fairness [--write FILE]`.

A real API server and the real operator; the resident and the kubelet follow a script, and requests come five times a
second. The resident loads and unloads in no time and a training lasts seconds, so that what is seen is the policy.
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from devcluster import Cluster
from devcluster.controlplane import api_client
from devcluster.paths import REPOSITORY
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.kubelet import ScriptedKubelet
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

_REQUEST_PERIOD = 0.2
_NEVER = "99999"


@dataclass(frozen=True)
class Scenario:
    """A load, and the policy under which it is run. Times are seconds."""

    load: str
    policy: str
    jobs: int = 1
    seconds: float = 20.0
    gpu: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    model_mib: int = 14_000
    busy: tuple[float, float] = (1.0, 0.0)
    """Requests come for so long, then pause for so long."""


_ROW, _LONG = "6 jobs of 6 s in a row", "1 job of 40 s"
_SMALL, _PAUSES = "1 job of 20 s that fits beside the resident", "1 job of 8 s; requests pause 10 s of every 20 s"
_YIELD = {"max_outage": "10", "min_serve": "5", "idle_after": "5"}
SCENARIOS = (
    Scenario(_ROW, "reload after each turn (`maxOutage: 0s`)", 6, 6, settings={"max_outage": "0", "min_serve": "0"}),
    Scenario(_ROW, "turns in a row (`maxOutage: 30m`)", 6, 6, settings={"max_outage": "1800", "min_serve": "60"}),
    Scenario(_ROW, "`maxOutage: 12s`, `minServe: 6s`", 6, 6, settings={"max_outage": "12", "min_serve": "6"}),
    Scenario(_LONG, "to its end", 1, 40, settings=_YIELD),
    Scenario(_LONG, "`yieldToResident`, `maxOutage: 10s`, `minServe: 5s`", 1, 40, {"yieldToResident": True}, _YIELD),
    Scenario(_SMALL, "`sharing: Exclusive`", model_mib=4000),
    Scenario(_SMALL, "`sharing: Coresident`", gpu={"sharing": "Coresident"}, model_mib=4000),
    Scenario(_PAUSES, "`startWhen: Immediately`", 1, 8, busy=(10, 10)),
    Scenario(_PAUSES, "`startWhen: ResidentIdle`, `idleFor: 1s`", 1, 8,
             {"startWhen": "ResidentIdle", "idleFor": "1s"}, busy=(10, 10)),
)  # fmt: skip


@dataclass
class Measured:
    """The results of a scenario. Times are in seconds."""

    makespan: float = 0.0
    served: int = 0
    refused: int = 0
    outages: list[float] = field(default_factory=list)
    attempts: int = 0


class Clients:
    """Sends requests to the resident periodically, and counts the results."""

    def __init__(self, resident: ScriptedResident, scenario: Scenario) -> None:
        self._resident, self._busy = resident, scenario.busy
        self.measured = Measured()
        self._out_since: float | None = None
        self._last = self._start = time.monotonic()

    def look(self) -> None:
        """Send a request if it is time for one, and watch the outage."""
        resident, now = self._resident, time.monotonic()
        if (now - self._start) % sum(self._busy) < self._busy[0]:
            self._last = now
            if resident.loaded:
                self.measured.served += 1
            else:
                self.measured.refused += 1
                resident.refused += 1
        resident.idle_seconds = now - self._last
        if resident.loaded and self._out_since is not None:
            self.measured.outages.append(now - self._out_since)
            self._out_since = None
        elif not resident.loaded and self._out_since is None:
            self._out_since = now


@contextmanager
def every(period: float, look: Callable[[], None]) -> Iterator[None]:
    """Call `look` again and again in a thread for the length of a `with` block."""
    ended = threading.Event()

    def loop() -> None:
        while not ended.wait(period):
            look()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def run(cluster: Cluster, api: httpx.Client, number: int, scenario: Scenario, folder: Path) -> Measured:
    """Run a scenario in a namespace of its own."""
    namespace = f"fairness-{number}"
    api.post("/api/v1/namespaces", json={"metadata": {"name": namespace}}).raise_for_status()
    eventually(lambda: api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/default").is_success, "the namespace")
    world = World(api, namespace)
    resident = ScriptedResident(
        uuid=f"GPU-{number:08}-0000-0000-0000-000000000000", model_mib=scenario.model_mib, cap_mib=scenario.model_mib
    )
    world.add_resident(resident)
    operator = OperatorProcess(
        cluster.kubeconfig, folder / f"operator-{number}.log", watch_namespace=namespace, **scenario.settings
    )
    clients = Clients(resident, scenario)
    kubelet = ScriptedKubelet(world, [resident], seconds=scenario.seconds)
    operator.start()
    try:
        with every(_REQUEST_PERIOD, clients.look), kubelet:
            started = time.monotonic()
            names = [f"job-{each}" for each in range(1, scenario.jobs + 1)]
            for name in names:
                world.apply_job(name, gpu={"memory": "8Gi", **scenario.gpu})
            eventually(lambda: all(world.phase(name) == "Succeeded" for name in names), "all jobs", within=300)
            clients.measured.makespan = time.monotonic() - started
            eventually(lambda: resident.loaded and world.no_reload_pending(), "the resident to be back", within=60)
            time.sleep(2 * _REQUEST_PERIOD)
        clients.measured.attempts = sum(len(world.job(name)["status"]["attempts"]) for name in names)
        return clients.measured
    finally:
        operator.stop()
        resident.close()
        world.delete_pod("sam3")


def table(results: list[tuple[Scenario, Measured]]) -> str:
    """Write the results as a Markdown table."""
    lines = [
        "| load | policy | all done after | attempts | resident out, in all | longest outage | served | refused |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for scenario, seen in results:
        out, longest = sum(seen.outages), max(seen.outages, default=0.0)
        share = 100 * seen.served / max(1, seen.served + seen.refused)
        lines.append(
            f"| {scenario.load} | {scenario.policy} | {seen.makespan:.0f} s | {seen.attempts} | {out:.0f} s | "
            f"{longest:.0f} s | {seen.served} ({share:.0f} %) | {seen.refused} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all scenarios and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.fairness", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    results = []
    with Cluster() as cluster, api_client(cluster.run_dir) as api, tempfile.TemporaryDirectory() as folder:
        cluster.kubectl("apply", "-k", str(REPOSITORY / "crds"))
        cluster.kubectl("create", "namespace", "gpu-relay")
        eventually(lambda: "yolotrainingjobs" in cluster.kubectl("api-resources"), "our kind")
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}
        cluster.kubectl("create", "-f", "-", stdin=json.dumps(node))
        for number, scenario in enumerate(SCENARIOS, start=1):
            print(f"{scenario.load}: {scenario.policy}", flush=True)
            results.append((scenario, run(cluster, api, number, scenario, Path(folder))))
    print(table(results))
    if options.json:
        figures = [{"load": s.load, "policy": s.policy, **vars(m)} for s, m in results]
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
