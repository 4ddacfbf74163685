"""`kubectl_complete-relay`: what kubectl runs to complete `kubectl relay …`.

It gives the words so far as arguments, the last one unfinished, and reads one suggestion a line, with a tab before its
description, and a last line with Cobra's directive.
"""

import sys
from collections.abc import Sequence

from click.shell_completion import CompletionItem, ShellComplete

from kubectl_relay.commands import cli
from kubectl_relay.views.text import visible

_FILES = 0
"""Cobra's ShellCompDirectiveDefault: the shell completes to file names."""
_NO_FILES = 4
"""Cobra's ShellCompDirectiveNoFileComp."""


def suggestions(arguments: Sequence[str]) -> list[str]:
    """Return the lines that kubectl reads, for the words after `kubectl relay`."""
    *before, unfinished = arguments or [""]
    items = ShellComplete(cli, {}, "kubectl relay", "").get_completions(before, unfinished)
    files = any(item.type in {"file", "dir"} for item in items)
    return [*(_line(item) for item in items if item.type == "plain"), f":{_FILES if files else _NO_FILES}"]


def _line(item: CompletionItem[str]) -> str:
    return visible(f"{item.value}\t{item.help}" if item.help else str(item.value))


def main() -> None:
    """Print suggestions for the command line that kubectl gives."""
    print("\n".join(suggestions(sys.argv[1:])))
