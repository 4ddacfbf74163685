"""Following the GPUs: a live display on a terminal, the cards again after each change in a pipe, data for programs."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.live import Live

from gpu_relay.overview.snapshot import ClusterSnapshot
from kubectl_relay.effects.cluster import ApiError, BrokenError
from kubectl_relay.exits import RelayError
from kubectl_relay.session import Session
from kubectl_relay.show.console import output, say
from kubectl_relay.show.data import dumped
from kubectl_relay.show.gpus import GpuScreen, gpu_cards
from kubectl_relay.views.data import plain
from kubectl_relay.views.gpu_report import gpu_report, is_same

_PAUSE = 2.0
"""Seconds between two looks at the cluster."""
_TRIES = 10
_REDRAWS = 4


def follow_gpus(session: Session, form: str | None) -> None:
    """Show the GPUs, and show them again when they change, until the user ends it."""
    console, snapshots = output(), _snapshots(session)
    if form:
        _after_changes(snapshots, lambda _, report: say(_document(report, form)))
    elif console.is_terminal:
        _live(session, console, snapshots)
    else:
        _after_changes(snapshots, lambda snapshot, _: _block(console, snapshot))


def _after_changes(
    snapshots: Iterator[ClusterSnapshot], show: Callable[[ClusterSnapshot, dict[str, Any]], None]
) -> None:
    shown: dict[str, Any] | None = None
    for snapshot in snapshots:
        report = gpu_report(snapshot)
        if not is_same(report, shown):
            show(snapshot, report)
            shown = report


def _document(report: dict[str, Any], form: str) -> str:
    return json.dumps(plain(report)) if form == "json" else f"---\n{dumped(report, form)}"


def _block(console: Console, snapshot: ClusterSnapshot) -> None:
    say(f"{snapshot.now:%H:%M:%S}")
    console.print(gpu_cards(snapshot))
    console.file.flush()


def _live(session: Session, console: Console, snapshots: Iterator[ClusterSnapshot]) -> None:
    screen = GpuScreen(next(snapshots), lambda: session.cluster.now)
    with Live(screen, console=console, refresh_per_second=_REDRAWS):
        for snapshot in snapshots:
            screen.snapshot = snapshot


def _snapshots(session: Session) -> Iterator[ClusterSnapshot]:
    """Yield a snapshot every two seconds; RelayError after so many failures in a row, or at once for a refusal."""
    failures = 0
    while True:
        try:
            snapshot = session.reader.snapshot(session.scope, widen=session.widen, measure=True)
        except RelayError as error:
            failures += 1
            if not _may_pass(error) or failures == _TRIES:
                raise
            if failures == 1:
                say(f"{error}; trying again", err=True)
        else:
            failures = 0
            yield snapshot
        time.sleep(_PAUSE)


def _may_pass(error: RelayError) -> bool:
    return isinstance(error, BrokenError) or (isinstance(error, ApiError) and error.status in {429, *range(500, 600)})
