"""Find the prose of a source file: text, comments, docstrings, messages, and the names that it defines.

Not prose: code blocks and code spans, targets of links, string literals of one word (keys, paths), and in YAML scalars
of one word.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

_QUOTED = re.compile(
    r"""
    ^[ ]*(?P<fence>`{3,}).*?^[ ]*(?P=fence)$                                     # a code block
    | ^\$[ ].*?$                                                                 # a command in a comment
    | ^\|[ ]`(?:GPU_RELAY_[A-Z_]+|gpu_relay_[a-z_]+)`[ ]\|[^|\n]*\|[^\n]+\|$     # a setting or a metric, with its text
    | (?P<span>`+)[^`]+(?P=span)                                                 # a code span
    | \]\([^)\n]*\)                                                              # the target of a link
    """,
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
_SPAN = re.compile(r"`[^`\n]+`")
_COMMENT = re.compile(r"(?:^|(?<=\s))#+(.*)$")
_KEY = re.compile(r"^\s*(?:- )*(?:[\w./-]+:(?=\s|$))?")
_NAME_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|_+")
_TEXT_SUFFIXES = (".c", ".css", ".go", ".html", ".js", ".lua", ".sh", ".toml", ".tpl")
_TEXT_NAMES = ("Dockerfile", "Makefile", "run")
"""Kinds of files that are checked as they stand: every line, code too, but for code spans."""


@dataclass(frozen=True)
class Passage:
    """A piece of prose and the line on which it begins; `is_name` where it is an identifier, split into words."""

    line: int
    text: str
    is_name: bool = False


def has_prose(path: str) -> bool:
    """Say whether a file is of a kind that has prose."""
    kind = PurePosixPath(path)
    return kind.suffix in (".md", ".py", ".yaml", ".yml", *_TEXT_SUFFIXES) or kind.name in _TEXT_NAMES


def passages(path: str, text: str) -> list[Passage]:
    """Return the prose of a file of such a kind, in the order of its lines."""
    kind = PurePosixPath(path)
    if kind.suffix == ".md":
        return [Passage(1, _blank(_QUOTED, text))]
    if kind.suffix in (".yaml", ".yml"):
        return [Passage(1, _blank(_SPAN, _read_yaml(text)))]
    if kind.suffix == ".py":
        found = [_read_comments(text), *_read_strings(text), *_read_names(text)]
        return sorted(found, key=lambda passage: passage.line)
    return [Passage(1, _blank(_SPAN, text))]


def _blank(pattern: re.Pattern[str], text: str) -> str:
    """Replace what matches, so that lines keep their numbers and words around it do not meet."""
    return pattern.sub(lambda match: re.sub(r"[^\n]", "`", match[0]), text)


def _read_yaml(text: str) -> str:
    """Return comments and values of more than one word, each on its line."""
    lines = []
    for line in text.splitlines():
        comment = _COMMENT.search(line)
        value = _KEY.sub("", line[: comment.start()] if comment else line).strip()
        lines.append(" ".join([value if " " in value else "", comment[1] if comment else ""]))
    return "\n".join(lines)


def _read_comments(text: str) -> Passage:
    lines = [""] * (text.count("\n") + 2)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            lines[token.start[0] - 1] = token.string.lstrip("#")
    return Passage(1, _blank(_SPAN, "\n".join(lines)))


def _read_strings(text: str) -> Iterator[Passage]:
    """Return docstrings, and string literals of more than one word; a formatted value counts as one word."""
    parts = set()
    for node in ast.walk(ast.parse(text)):  # breadth first: a formatted string before its parts
        if isinstance(node, ast.JoinedStr):
            parts |= {id(value) for value in node.values}
            value = "".join(
                each.value if isinstance(each, ast.Constant) and isinstance(each.value, str) else "…"
                for each in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            value = node.value
        else:
            continue
        if " " in value.strip():
            yield Passage(node.lineno, _blank(_SPAN, value))


def _read_names(text: str) -> Iterator[Passage]:
    """Return the names that a module defines; names of other modules, which it only uses, are left out."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                pass
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                pass
            case _:
                continue
        yield Passage(node.lineno, _NAME_BORDER.sub(" ", name).strip(), is_name=True)
