"""Following a job: a live display on a terminal, lines in a pipe, JSON for programs."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime

from rich.console import Console
from rich.live import Live

from gpu_relay.domain.objects.job import Job
from kubectl_relay.effects.follow import changes
from kubectl_relay.exits import Exit, RelayError
from kubectl_relay.session import Session
from kubectl_relay.show.console import output, say
from kubectl_relay.show.watching import Panel, panel
from kubectl_relay.views.data import plain
from kubectl_relay.views.progress import ending, line, progress_of

_REDRAWS = 4


def follow(session: Session, namespace: str, name: str, *, as_json: bool, timeout: float | None) -> Exit:
    """Follow a job until it ends; returns how. `timeout` is in seconds."""
    cluster = session.cluster
    jobs = changes(cluster, session.reader, namespace, name, timeout)
    console = output()
    if as_json:
        return _until_end(jobs, lambda job: say(json.dumps(plain(progress_of(job)))))
    if not console.is_terminal:
        return _in_lines(jobs, lambda: cluster.now)
    return _live(console, jobs, lambda: cluster.now)


def _until_end(jobs: Iterator[Job], show: Callable[[Job], None]) -> Exit:
    for job in jobs:
        show(job)
        code = ending(job)
        if code is not None:
            return code
    raise RelayError("the job's changes ended before the job did")


def _in_lines(jobs: Iterator[Job], now: Callable[[], datetime]) -> Exit:
    printed = ""

    def show(job: Job) -> None:
        nonlocal printed
        text = line(job)
        if text != printed:
            say(f"{now():%H:%M:%S}  {text}")
        printed = text

    return _until_end(jobs, show)


def _live(console: Console, jobs: Iterator[Job], now: Callable[[], datetime]) -> Exit:
    shown = Panel(next(jobs), now)
    code = ending(shown.job)
    if code is None:
        with Live(shown, console=console, refresh_per_second=_REDRAWS, transient=True):

            def show(job: Job) -> None:
                shown.job = job

            code = _until_end(jobs, show)
    console.print(panel(shown.job, now(), console.width))
    return code
