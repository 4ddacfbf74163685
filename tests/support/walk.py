"""A newcomer at a terminal: run the commands of a page in order, and compare their output with the page."""

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.pages import Page, Step

REFUSED = "# refused"
"""Marks a command that must fail, as a reader may read it too."""
_KEEP_STATE = '\n__code=$?\nenv -0 > "$__state"\nexit $__code\n'
_BEYOND = {"_", "SHLVL", "__state"}


@dataclass
class Walker:
    """A shell that keeps its folder and its variables from one command to the next."""

    folder: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    seconds: float = 960.0
    """Time limit of a command."""

    def run(self, command: str) -> tuple[int, str]:
        """Run a command; return its exit code, and what a terminal would have shown.

        Raises subprocess.TimeoutExpired when it does not end. What it leaves running does not count.
        """
        with tempfile.TemporaryDirectory() as scratch:
            state, shown = Path(scratch) / "state", Path(scratch) / "shown"
            with shown.open("wb") as terminal:  # no pipe, which a cluster that stays would keep open
                done = subprocess.run(
                    ["bash", "-c", command + _KEEP_STATE],
                    cwd=self.folder,
                    env={**self.environment, "__state": str(state)},
                    stdin=subprocess.DEVNULL,
                    stdout=terminal,
                    stderr=subprocess.STDOUT,
                    timeout=self.seconds,
                    check=False,
                )
            self._remember(state)
            return done.returncode, shown.read_text(errors="replace")

    def _remember(self, state: Path) -> None:
        entries = state.read_text().split("\0") if state.exists() else []
        pairs = dict(entry.split("=", 1) for entry in entries if "=" in entry)
        if pairs:
            self.folder = Path(pairs["PWD"])
            self.environment = {name: value for name, value in pairs.items() if name not in _BEYOND}

    def walk(self, page: Page) -> None:
        """Run a page's commands in order; raise AssertionError at the first whose output differs from the page."""
        for block in page.blocks:
            for step in block.steps:
                self._take(page, step)

    def _take(self, page: Page, step: Step) -> None:
        code, shown = self.run(step.command)
        place = f"{page.name}, line {step.line}: $ {step.command}"
        print(f"{place}\n{shown}", flush=True)
        wanted = "fails" if step.command.endswith(REFUSED) else "succeeds"
        assert ("fails" if code else "succeeds") == wanted, f"{place}\n{shown}\nexit code {code}; the page: it {wanted}"
        assert fits(step.expected, shown), f"{place}\nprints\n{shown}\nand the page says\n" + "\n".join(step.expected)


def fits(expected: list[str], shown: str) -> bool:
    """Return whether an output matches a page.

    `…` stands for anything in a line, a line of `…` for any lines; spaces count as one. A page without
    output matches any.
    """
    if not expected:
        return True
    lines = "".join("(?:.*\n)*?" if line.strip() == "…" else f"{_line(line)}\n" for line in expected)
    printed = "".join(f"{' '.join(line.split())}\n" for line in shown.splitlines() if line.strip())
    return re.fullmatch(lines, printed) is not None


def _line(expected: str) -> str:
    words = " ".join(expected.split())
    return ".*?".join(re.escape(part) for part in words.split("…"))
