"""Whether the process makes progress, for its liveness probe."""

from gpu_relay.controllers.runtime.workqueue import WorkQueue
from gpu_relay.settings import Settings

_MOST_LAG = 150.0
"""Seconds in which a watch must deliver what a list has shown; a silent watch is reopened after 70 s."""


def problem(settings: Settings, queue: WorkQueue, resync_age: float, lag: float) -> str | None:
    """Return why the process makes no progress; None while it does.

    `resync_age` is that of the last full lists, `lag` how long the watches have missed a change, both in seconds.
    """
    overdue, runs = queue.overdue(), queue.longest_run()
    if overdue > 2 * settings.request_timeout:
        return f"the oldest item of the work queue has been waiting for {overdue:.0f} s"
    if runs > settings.load_timeout + 10 * settings.request_timeout:
        return f"an item of the work queue has been worked on for {runs:.0f} s"
    if resync_age > 3 * settings.resync_interval:
        return f"no full list has been read for {resync_age:.0f} s"
    if lag > _MOST_LAG:
        return f"the watches have not delivered for {lag:.0f} s what a full list has shown"
    return None
