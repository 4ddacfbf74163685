"""Taking a run down, from its folder alone: the same code ends a cluster in use, a detached one and a stale one."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from devcluster import controlplane, kubelet, node_lock, paths, runs
from devcluster.errors import ClusterError
from devcluster.processes import Processes, all_marked, marked
from devcluster.progress import logger
from devcluster.runs import NodeKind, Run, State

#: A folder to which the logs of every cluster are copied at its end; unset: they go with it.
LOGS_VARIABLE = "GPU_RELAY_CLUSTER_LOGS"
#: Seconds that the process node gets to end its pods.
_NODE_GRACE = 15.0


def tear_down(run: Run, processes: Processes | None = None, *, only_if_stale: bool = False) -> None:
    """End everything of a run and remove its folder; every step is tried, whatever became of the one before.

    `processes` is the starter's own object where it still exists, so that its children are reaped.
    Raises ClusterError with everything that went wrong or was left over; the folder, with its logs, stays then.
    """
    with runs.locked("teardown"):
        if only_if_stale and not _stale(run):
            return  # another process was faster, and may have made a new run of this name since
        problems = _end(run, processes or run.processes()) + leftovers(run)
        if problems:
            raise ClusterError(f"cluster {run.name} was not removed cleanly:\n" + "\n".join(problems))
        if run.node is NodeKind.KUBELET:
            node_lock.release(run)
        _keep_logs(run)
        with runs.locked():
            shutil.rmtree(run.folder, ignore_errors=True)


def _keep_logs(run: Run) -> None:
    if folder := os.environ.get(LOGS_VARIABLE):
        target = Path(folder) / run.name
        target.mkdir(parents=True, exist_ok=True)
        for log in run.folder.glob("*.log"):
            shutil.copy(log, target)


def _stale(run: Run) -> bool:
    current = runs.load_from(run.folder)
    return current is not None and current.state() is State.STALE


def _end(run: Run, processes: Processes) -> list[str]:
    """Take every step and return what went wrong."""
    steps: list[Callable[[], None]] = [
        lambda: processes.end(("node",), _NODE_GRACE),
        # Nothing of the control plane's state is kept, so there is nothing to wait for.
        lambda: processes.end(controlplane.PROCESSES),
    ]
    # Only the holder has touched the machine's node; for any other run it would be a stranger's.
    if run.node is NodeKind.KUBELET and node_lock.holds(run):
        steps += kubelet.tear_down_steps(run, processes)
    steps.append(processes.end_rest)
    problems = []
    for step in steps:
        try:
            step()
        except (ClusterError, OSError) as error:
            problems.append(str(error))
    return problems


def leftovers(run: Run) -> list[str]:
    """Return a sentence for everything of this run that is still on the machine, its folder aside."""
    found = [f"process {process.pid} ({process.command()}) still runs" for process in marked(run.folder)]
    if run.node is NodeKind.KUBELET and node_lock.holds(run):
        found += kubelet.leftovers(run)
    return found


def orphans() -> list[str]:
    """Return a sentence for everything on this machine that some run left and no present run accounts for."""
    present = runs.all_runs()
    found = [sentence for run in present if run.state() is State.STALE for sentence in leftovers(run)]
    folders = {str(run.folder) for run in present}
    for process, folder in all_marked().items():
        if folder not in folders and Path(folder).parent == paths.runs():
            found.append(f"process {process.pid} ({process.command()}) of {folder} still runs")
    if node_lock.holder() is None:
        found += kubelet.machine_leftovers()
    return found


def sweep() -> None:
    """Take down every stale run of this cache."""
    for run in runs.all_runs():
        if run.state() is State.STALE:
            logger.info("Cleaning up after cluster %s, whose owner is gone", run.name)
            tear_down(run, only_if_stale=True)
