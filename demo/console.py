"""The timeline: each event with its time, each check with its result. Colours and bars on a terminal, else lines.

    00:31  1/6   A detection on a real photograph loads the model
    00:36  ok    12 instances in 4.9 s

Every line is also kept, for timeline.txt.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from typing import IO, Protocol

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from demo.figures import clock, gauge, mib
from demo.sam3 import Gpu

HEARTBEAT_SECONDS = 15.0
"""In a pipe, a wait prints a line after this time without another line."""
_TAG_WIDTH = 8
_STYLES = {"ok": "bold green", "FAIL": "bold red", "gpu": "cyan", "setup": "blue", "end": "blue", "log": "dim"}
_STEP_STYLE = "bold yellow"


class Wait(Protocol):
    """A wait that is shown."""

    def update(self, text: str, share: float | None = None) -> None:
        """Show the state; `share` (0 to 1) fills the bar."""


class Timeline:
    """Prints lines with the time since the start."""

    def __init__(self, stream: IO[str] | None = None, *, terminal: bool | None = None) -> None:
        """Print to `stream` (default: standard output); `terminal` overrides whether it is one."""
        self._console = Console(file=stream, force_terminal=terminal, highlight=False, emoji=False, markup=False)
        self._started = time.monotonic()
        self.began = time.time()
        self._lines: list[str] = []
        self._last_line = 0.0

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def text(self) -> str:
        """Everything printed so far, plain."""
        return "\n".join(self._lines) + "\n"

    def clock_of(self, moment: float) -> str:
        """Write a moment (seconds since the epoch) as the timeline does, to the tenth of a second."""
        since = max(0.0, moment - self.began)
        return f"{clock(since)}.{int(since * 10) % 10}"

    @property
    def quiet(self) -> float:
        """Seconds since the last line."""
        return self.seconds - self._last_line

    def headline(self, title: str, *sentences: str) -> None:
        """Print a title and an introduction."""
        self._print(Text(title, style="bold"), title)
        for sentence in sentences:
            self._print(Text(sentence), sentence)

    def gap(self) -> None:
        """Print an empty line."""
        self._print(Text(), "")

    def step(self, tag: str, title: str) -> None:
        """Begin a step."""
        self.gap()
        self._line(tag, title, _STEP_STYLE, "bold")

    def ok(self, text: str) -> None:
        """Print a check that passed."""
        self._line("ok", text)

    def failed(self, text: str) -> None:
        """Print what went wrong."""
        self._line("FAIL", text, text_style="red")

    def note(self, text: str, tag: str = "") -> None:
        """Print a line that is not a check."""
        self._line(tag, text, text_style="dim" if tag == "log" else "")

    def gpu(self, seen: Gpu) -> None:
        """Print a GPU's memory as a bar with its figures."""
        bar = gauge(seen.used, seen.reserved, seen.total)
        self._line("gpu", f"{bar} {mib(seen.used)} MiB used, {mib(seen.free)} free of {mib(seen.total)}")

    def block(self, text: str) -> None:
        """Print many lines as they are."""
        for line in text.rstrip().splitlines():
            self._print(Padding(Text(line, style="dim"), (0, 0, 0, 4)), f"    {line}")

    @contextlib.contextmanager
    def wait(self, label: str) -> Iterator[Wait]:
        """Show a wait for as long as the block runs."""
        if self._console.is_terminal:
            with _bar(self._console) as progress:
                yield _BarWait(progress, label)
        else:
            with _Heartbeat(self, label) as heartbeat:
                yield heartbeat

    @contextlib.contextmanager
    def showing(self, logger: logging.Logger) -> Iterator[None]:
        """Print the lines of a logger for as long as the block runs."""
        handler = _Lines(self)
        level, propagate = logger.level, logger.propagate
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate

    def _line(self, tag: str, text: str, tag_style: str = "", text_style: str = "") -> None:
        now = clock(self.seconds)
        plain = f"{now}  {tag:<{_TAG_WIDTH}}{text}".rstrip()
        shown = Table.grid()
        shown.add_column(width=len(now) + 2, style="dim")
        shown.add_column(width=_TAG_WIDTH, style=tag_style or _STYLES.get(tag, ""))
        shown.add_column(style=text_style)
        shown.add_row(now, tag, Text(text))
        self._print(shown, plain)

    def _print(self, shown: Text | Table | Padding, plain: str) -> None:
        self._lines.append(plain)
        self._last_line = self.seconds
        if self._console.is_terminal:
            self._console.print(shown)
        else:
            # whole lines, however long: a pipe has no width
            self._console.print(Text(plain), soft_wrap=True)


class _BarWait:
    def __init__(self, progress: Progress, label: str) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=None, detail="")

    def update(self, text: str, share: float | None = None) -> None:
        total = None if share is None else 1.0
        self._progress.update(self._task, detail=text, total=total, completed=share or 0.0)


class _Heartbeat:
    def __init__(self, timeline: Timeline, label: str) -> None:
        self._timeline = timeline
        self._label = label
        self._text = ""
        self._started = timeline.seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "_Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def update(self, text: str, share: float | None = None) -> None:
        self._text = text if share is None else f"{text} ({share:.0%})"

    def _run(self) -> None:
        while not self._done.wait(max(0.1, HEARTBEAT_SECONDS - self._timeline.quiet)):
            if self._timeline.quiet < HEARTBEAT_SECONDS:
                continue  # another line was printed in the meantime
            waited = f"{self._label}: {self._timeline.seconds - self._started:.0f} s"
            self._timeline.note(f"{waited}, {self._text}" if self._text else waited, "…")


class _Lines(logging.Handler):
    def __init__(self, timeline: Timeline) -> None:
        super().__init__()
        self._timeline = timeline

    def emit(self, record: logging.LogRecord) -> None:
        self._timeline.note(record.getMessage(), "setup" if record.levelno < logging.WARNING else "log")


def _bar(console: Console) -> Progress:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}", style="cyan"),
    )
    return Progress(*columns, console=console, transient=True)
