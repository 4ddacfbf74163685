"""The terminal: colours only where there is one, whole lines where there is none.

All that the plugin prints goes through here, and control characters are replaced here.
"""

import os
import re
import sys
from collections.abc import Iterable
from typing import IO, Any, cast

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from kubectl_relay.views.text import visible

PIPE_WIDTH = 120
"""Columns of output that goes to no terminal, unless `COLUMNS` sets them."""


def output(stream: IO[str] | None = None) -> Console:
    """Return the console of standard output, or of another stream."""
    stream = stream or sys.stdout
    terminal = stream.isatty()
    width = None if terminal or os.environ.get("COLUMNS") else PIPE_WIDTH
    file = stream if terminal else cast(IO[str], _Trimmed(stream))
    return _Visible(file=file, width=width, highlight=False, emoji=False, markup=False)


def say(text: str, *, err: bool = False) -> None:
    """Print a line of text to standard output, or standard error."""
    click.echo(visible(text), err=err)


class _Visible(Console):
    """A console whose texts cannot control the terminal; rich's own control codes are no text."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render, and make what is text visible."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


class _Trimmed:
    """A stream whose lines end where their text ends: tables are padded, which is of no use in a pipe."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write it without the blanks before line ends."""
        return self._stream.write(re.sub(" +(?=\n)", "", text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def words(*parts: Text | tuple[str, str] | str) -> Text:
    """Join pieces of text, each plain, with a style, or styled already."""
    return Text.assemble(*(_visible(part) for part in parts))


def _visible(part: Text | tuple[str, str] | str) -> Text | tuple[str, str] | str:
    match part:
        case str():
            return visible(part)
        case (text, style):
            return visible(text), style
    return part
