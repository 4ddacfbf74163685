"""Taking a run down, from its folder alone: the same code ends a cluster in use, a detached one and a stale one."""

import shutil
from collections.abc import Callable

from tests.cluster import controlplane, runs
from tests.cluster.errors import ClusterError
from tests.cluster.processes import Processes, marked
from tests.cluster.progress import logger
from tests.cluster.runs import Run, State

#: Seconds that the process node gets to end its pods.
_NODE_GRACE = 15.0


def tear_down(run: Run, processes: Processes | None = None) -> None:
    """End everything of a run and remove its folder; every step is tried, whatever became of the one before.

    `processes` is the starter's own object where it still exists, so that its children are reaped.
    Raises ClusterError with everything that went wrong or was left over.
    """
    processes = processes or run.processes()
    steps: list[Callable[[], None]] = [
        lambda: processes.end(("node",), _NODE_GRACE),
        # Nothing of the control plane's state is kept, so there is nothing to wait for.
        lambda: processes.end(controlplane.PROCESSES),
        processes.end_rest,
    ]
    problems = []
    for step in steps:
        try:
            step()
        except (ClusterError, OSError) as error:
            problems.append(str(error))
    problems += leftovers(run)
    if problems:
        raise ClusterError(f"cluster {run.name} was not taken down cleanly:\n" + "\n".join(problems))
    with runs.locked():
        shutil.rmtree(run.folder, ignore_errors=True)


def leftovers(run: Run) -> list[str]:
    """Return a sentence for everything of this run that is still on the machine, its folder aside."""
    return [f"process {process.pid} still runs" for process in marked(run.folder)]


def sweep() -> None:
    """Take down every stale run."""
    for run in runs.all_runs():
        if run.state() is State.STALE:
            logger.info("Cleaning up after cluster %s, whose owner is gone", run.name)
            tear_down(run)
