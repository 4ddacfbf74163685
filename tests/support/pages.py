"""The documentation as tests read it: links, anchors, and console blocks, command by command.

A console block may stand behind a comment that readers do not see and that says why its commands are not run; what the
comment has after a `$` is run in their place:

    <!-- not run: there is no registry here
    $ docker build --help
    -->
"""

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from devcluster.paths import REPOSITORY

_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^\n]+?)(?: -->|\n(?P<instead>.*)-->)", re.DOTALL)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass
class Step:
    """One command of a console block, and the lines that it is said to print."""

    command: str
    line: int
    expected: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Block:
    """A console block: what a reader sees, and what is run."""

    line: int
    shown: list[Step]
    reason: str
    """Why it is not run as shown; empty where it is."""
    instead: list[Step]

    @property
    def steps(self) -> list[Step]:
        """What is run."""
        return self.instead if self.reason else self.shown


@dataclass(frozen=True)
class Page:
    """A page of the documentation."""

    path: Path

    @property
    def name(self) -> str:
        """Its path in the repository."""
        return str(self.path.relative_to(REPOSITORY) if self.path.is_relative_to(REPOSITORY) else self.path)

    @property
    def links(self) -> list[str]:
        """The targets of all links and images."""
        spans = [child for token in self._tokens for child in token.children or []]
        found = [span.attrGet("href") or span.attrGet("src") for span in spans]
        return [str(target) for target in found if target]

    @property
    def anchors(self) -> set[str]:
        """The anchors of its headings, as GitHub names them."""
        headings = (
            following
            for token, following in zip(self._tokens, self._tokens[1:], strict=False)
            if token.type == "heading_open"
        )
        texts = ("".join(child.content for child in heading.children or []) for heading in headings)
        return {slug(text) for text in texts}

    @property
    def blocks(self) -> list[Block]:
        """Its console blocks, in order."""
        return [_block(before, token) for before, token in self._fences("console")]

    @property
    def scripts(self) -> list[Block]:
        """Its blocks of commands without prompts (`sh`), of which nothing is run."""
        return [Block((token.map or [0])[0] + 1, [], *_reason(before)) for before, token in self._fences("sh")]

    @property
    def files(self) -> dict[str, str]:
        """The files that it shows, by the path that stands over them."""
        fences = [token for token in self._tokens if token.type == "fence"]
        return {title[1]: token.content for token in fences if (title := _TITLE.search(token.info))}

    def _fences(self, language: str) -> list[tuple[Token | None, Token]]:
        """Return the fences of a language, each with what stands before it."""
        pairs = zip([None, *self._tokens], self._tokens, strict=False)
        return [
            (before, each) for before, each in pairs if each.type == "fence" and each.info.split()[:1] == [language]
        ]

    @property
    def _tokens(self) -> list[Token]:
        return _parsed(self.path)


@cache
def _parsed(path: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(path.read_text())


def pages() -> list[Page]:
    """Return the pages, README first."""
    others = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").glob("*.md"))]
    found = [REPOSITORY / "README.md", *others, REPOSITORY / "devcluster" / "README.md"]
    return [Page(path) for path in dict.fromkeys(found)]


def page(name: str) -> Page:
    """Return the page of a path in the repository."""
    return Page(REPOSITORY / name)


def slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def steps(text: str, line: int) -> list[Step]:
    """Read commands (`$ …`, continued after `> `) and their output; raises ValueError for output before a command."""
    found: list[Step] = []
    for number, row in enumerate(text.splitlines(), line):
        if row.startswith("$ "):
            found.append(Step(row[2:], number))
        elif not found:
            if row.strip():
                raise ValueError(f"line {number}: output without a command before it: {row}")
        elif row.startswith("> ") and not found[-1].expected:
            found[-1].command += "\n" + row[2:]
        elif row.strip():
            found[-1].expected.append(row)
    return found


def _block(before: Token | None, fence: Token) -> Block:
    line = (fence.map or [0])[0] + 1
    return Block(line, steps(fence.content, line + 1), *_reason(before))


def _reason(before: Token | None) -> tuple[str, list[Step]]:
    """Return why the block after a token is not run, and what is run instead; empty where it is run."""
    comment = _NOT_RUN.fullmatch(before.content.strip()) if before and before.type == "html_block" else None
    if not comment:
        return "", []
    return comment["reason"], steps(comment["instead"] or "", (before.map or [0])[0] + 2 if before else 0)
