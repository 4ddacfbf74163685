"""Which requests need the GPU. Pure."""

import re
from collections.abc import Iterable
from enum import StrEnum
from fnmatch import translate
from urllib.parse import unquote

_DOTS = re.compile(r"(^|/)\.{1,2}(/|$)")
_SLASHES = re.compile("/{2,}")


class Kind(StrEnum):
    """What a request is."""

    INFERENCE = "inference"
    PASSIVE = "passive"
    CLOSED = "closed"
    INVALID = "invalid"


class Gate:
    """Classifies requests by the rules of a profile, such as `GET /v1/models*`; `*` stands for any text."""

    def __init__(self, passive: Iterable[str], closed: Iterable[str]) -> None:
        self._passive = _matcher(passive)
        self._closed = _matcher(closed)

    def kind(self, method: str, raw_path: str) -> Kind:
        """Classify a request by its path, as it was sent, without the query.

        A path that an engine might read as another one is invalid: with `..`, a backslash, or encoded twice.
        """
        path = unquote(raw_path)
        if not path.startswith("/") or "\\" in path or "%" in path or _DOTS.search(path) or not path.isprintable():
            return Kind.INVALID
        path = _SLASHES.sub("/", path)
        asked = f"{method} {path.rstrip('/') or '/'}"
        if self._closed(asked):
            return Kind.CLOSED
        return Kind.PASSIVE if self._passive(asked) else Kind.INFERENCE


def _matcher(rules: Iterable[str]) -> "_Matcher":
    return _Matcher([re.compile(translate(rule)) for rule in rules])


class _Matcher:
    def __init__(self, patterns: list[re.Pattern[str]]) -> None:
        self._patterns = patterns

    def __call__(self, asked: str) -> bool:
        return any(pattern.match(asked) for pattern in self._patterns)
