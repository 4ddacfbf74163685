"""Mutants of the planner, each of which breaks a law: the model of the turn must catch every one.

`python -m tests.property.mutants` (`make test-mutants`) makes each change in a copy of the operator, and runs the model
on it, with one process per core.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

_REPOSITORY = Path(__file__).parents[2]
_RUN = """
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.property.{module} import {model}
settings.register_profile("search", phases=[Phase.generate], max_examples=6000, stateful_step_count=40, deadline=None,
                          derandomize=True, report_multiple_bugs=False, database=None)
run_state_machine_as_test({model}, settings=settings.get_profile("search"))
"""


@dataclass(frozen=True)
class Mutant:
    """One change of one line, and what it breaks."""

    breaks: str
    module: str
    before: str
    after: str
    model: str = "test_turn_model.Turn"
    """The model that must fail, in `tests.property`."""


_WORKLOAD = "test_workload_turn_model.WorkloadTurn"

MUTANTS = (
    Mutant(
        "law 1: two samples are enough",
        "turn/acquisition",
        "len(enough) == view.policy.samples and all(enough)",
        "all(enough)",
    ),
    Mutant("law 1: any sample will do", "turn/acquisition", "and all(enough)", "and any(enough)"),
    Mutant(
        "law 1: without the hold",
        "turn/acquisition",
        "    if not view.managed or demand is None:\n        return None\n    if view.held",
        "    if view.samples or not view.managed or demand is None:\n        return None\n    if view.held",
    ),
    Mutant(
        "law 2: beside another training",
        "turn/acquisition",
        "others = view.live_pods",
        "others = ()",
    ),
    Mutant(
        "law 2: the Lease goes back over a live pod",
        "turn/plan",
        "return stop_live_pods(view) or Decision.act(",
        "return Decision.act(",
    ),
    Mutant(
        "law 2: the Lease goes back over a sidecar",
        "objects/pod",
        "return self.termination is None or self.outlived",
        "return self.termination is None",
    ),
    Mutant("law 2: a load over a live pod", "turn/handback", "    return stop_live_pods(view)\n", "    return None\n"),
    Mutant(
        "law 3: a turn without a pending reload",
        "turn/lease_return",
        "reload_pending=view.managed,",
        "reload_pending=False,",
    ),
    Mutant(
        "law 3: settled without a load",
        "turn/handback",
        "if report is None or not report.model_loaded:",
        "if report is None:",
    ),
    Mutant("law 3: handed over without a waiting job", "turn/handback", "return bool(view.successor) and", "return"),
    Mutant(
        "law 3: passed on, and to be tried again", "turn/plan", "if judged.phase in TERMINAL_PHASES and step", "if step"
    ),
    Mutant(
        "law 9: a turn is never given up",
        "turn/acquisition",
        "view.idle_outage_left > 0",
        "view.idle_outage_left > -1e9",
    ),
    Mutant(
        "law 9: passed on when the outage is too long",
        "turn/handback",
        "return min(left, view.idle_outage_left)",
        "return left",
    ),
    Mutant("law 6: a lost pod is a live one's", "turn_view", "p.fence == fence), None)", "True), None)"),
    Mutant(
        "the cause of a stop is not on record",
        "turn/training",
        "stopping = stop.reason if stop else",
        "stopping = None if stop else",
    ),
    Mutant(
        "an equal preempts",
        "job/stop_reasons",
        "job.spec.priority < other.priority",
        "job.spec.priority <= other.priority",
    ),
    Mutant(
        "preempted without its leave",
        "job/stop_reasons",
        "other is not None and job.spec.preemptible",
        "other is not None",
    ),
    Mutant("a preemption costs an attempt", "job/stop_reasons", "    return stopping\n", "    return Reason.ERROR\n"),
    Mutant("tried again past its deadline", "job/attempts", "if ends is not None and ends <= now:", "if False:"),
    Mutant(
        "transition times that wander",
        "job/status",
        "old.last_transition_time if old is not None",
        "timestamp(now) if old is not None",
    ),
    Mutant(
        "law 1: Ready without the samples",
        "turn/workload_turn",
        "workload_runs, *acquisition.PROOF, mark_ready",
        "workload_runs, *acquisition.PROOF[:-1], mark_ready",
        _WORKLOAD,
    ),
    Mutant(
        "law 1: a Ready outlives its turn",
        "turn/workload_turn",
        "    ready_is_stale, workload_has_stopped, ",
        "    workload_has_stopped, ",
        _WORKLOAD,
    ),
    Mutant(
        "law 2: the Lease goes back on Kueue's word",
        "turn/workload_turn",
        "    if view.live_pods:\n        return _while_pods_end(view)\n",
        "",
        _WORKLOAD,
    ),
    Mutant(
        "law 2: the Lease goes back while the node still has the label of the turn",
        "turn/workload_turn",
        "    if view.is_pinned:\n",
        "    if False:\n",
        _WORKLOAD,
    ),
    Mutant(
        "law 2: a pod that has a node counts as one without",
        "turn_view",
        "or not pod.workload_uid or pod.node:",
        "or not pod.workload_uid:",
        _WORKLOAD,
    ),
    Mutant(
        "law 2: the memory is not measured at the end",
        "turn/workload_turn",
        "return not memory_is_back(view) and",
        "return False and",
        _WORKLOAD,
    ),
    Mutant(
        "a Workload that Kueue has stopped takes its GPU again",
        "turn/workload_turn",
        "if view.has_ended else",
        "if False else",
        _WORKLOAD,
    ),
    Mutant(
        "a finished Workload is not seen as such",
        "objects/checked_workload",
        "        if self.finished:\n",
        "        if False:\n",
        _WORKLOAD,
    ),
)


def main() -> int:
    """Run the model on each mutant; return 1 when one survives."""
    survivors = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each thread waits for a process
        for mutant, caught in zip(MUTANTS, pool.map(_is_caught, MUTANTS), strict=True):
            print(f"{'caught  ' if caught else 'SURVIVED'}  {mutant.breaks}", flush=True)
            survivors += [] if caught else [mutant]
    print(f"{len(MUTANTS) - len(survivors)} of {len(MUTANTS)} caught")
    return bool(survivors)


def _is_caught(mutant: Mutant) -> bool:
    module_name, model = mutant.model.split(".")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "gpu_relay"
        shutil.copytree(_REPOSITORY / "operator" / "gpu_relay", copy)
        module = copy / "domain" / f"{mutant.module}.py"
        source = module.read_text()
        if source.count(mutant.before) != 1:
            raise SystemExit(f"{mutant.breaks}: {mutant.before!r} must be in {mutant.module}.py once")
        module.write_text(source.replace(mutant.before, mutant.after))
        run = subprocess.run(
            [sys.executable, "-c", _RUN.format(module=module_name, model=model)],
            cwd=_REPOSITORY,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([folder, str(_REPOSITORY)])},
            capture_output=True,
            text=True,
            check=False,
        )
    if run.returncode and "AssertionError" not in run.stderr:
        raise SystemExit(run.stderr)
    return run.returncode != 0


if __name__ == "__main__":
    sys.exit(main())
