"""What Prometheus' own parser makes of an expression."""

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from devcluster import binaries

_NAME = "__name__"


@dataclass(frozen=True)
class Matcher:
    """One condition of a selector: `label type value`."""

    label: str
    type: str
    value: str


@dataclass(frozen=True)
class Parsed:
    """An expression: what it selects, and the labels that it groups or joins by."""

    error: str
    type: str
    selectors: tuple[tuple[Matcher, ...], ...]
    labels: frozenset[str]

    @property
    def series(self) -> list[tuple[str, list[Matcher]]]:
        """Return the metric's name and the other conditions of each selector."""
        return [(_name(selector), [each for each in selector if each.label != _NAME]) for selector in self.selectors]


def _name(selector: Iterable[Matcher]) -> str:
    return next(each.value for each in selector if each.label == _NAME)


def parsed(expressions: Iterable[str]) -> list[Parsed]:
    """Parse expressions."""
    program = binaries.ensure(["promql"])["promql"]
    text = json.dumps(list(expressions))
    done = subprocess.run([program], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [
        Parsed(
            each["error"],
            each["type"],
            tuple(tuple(Matcher(**matcher) for matcher in selector) for selector in each["selectors"] or ()),
            frozenset(each["labels"] or ()),
        )
        for each in json.loads(done.stdout)
    ]
