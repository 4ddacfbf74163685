"""A newcomer's walk: every command of the pages, in the order of the pages, on the local cluster of `make try`."""

import os
from collections.abc import Iterator

import pytest

from devcluster import NodeKind, choose
from devcluster.paths import REPOSITORY
from tests.support.pages import page, pages
from tests.support.walk import Walker

ROUTE = (
    "docs/try-it.md",
    "docs/install.md",
    "docs/first-training.md",
    "docs/gitops.md",
    "docs/why-is-my-job-waiting.md",
)
"""From the start of the relay to its end."""
WRITTEN_BY_A_PROGRAM = {"docs/tour.md"}
_OF_MAKE = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
"""Variables that a `make` that runs the tests passes to its children, which print their folder because of them."""


@pytest.fixture
def walker() -> Iterator[Walker]:
    """A shell in the checkout, with a cluster name of its own; the cluster ends, wherever the walk ends."""
    choice = choose.choose(os.environ.get(choose.VARIABLE), choose.look())
    if choice.node is NodeKind.NONE:
        pytest.skip(f"the walk needs a node that runs pods: {choice}")
    mine = {"TRY": f"walk-{os.getpid()}", "NODE": str(choice.node), "no_proxy": "*"}
    outer = {name: value for name, value in os.environ.items() if name not in _OF_MAKE}
    walker = Walker(REPOSITORY, {**outer, **mine})
    yield walker
    code, output = walker.run(f"make -C {REPOSITORY} try-down")
    assert code == 0, output


def test_every_command_of_the_newcomers_pages_does_what_they_say(walker: Walker) -> None:
    for name in ROUTE:
        walker.walk(page(name))
        if name == "docs/try-it.md":
            assert _accuracy(walker) >= 0.7, "the first training gives a result to be proud of"


def _accuracy(walker: Walker) -> float:
    """Return mAP50 of the job `first`."""
    code, output = walker.run("kubectl -n vision get ytj first -o jsonpath='{.status.results.metrics.mAP50}'")
    assert code == 0, output
    return float(output)


def test_every_unrun_console_block_has_a_reason() -> None:
    others = [each for each in pages() if each.name not in {*ROUTE, *WRITTEN_BY_A_PROGRAM}]
    blocks = [(each, block) for each in others for block in each.blocks]
    blocks += [(each, script) for each in pages() for script in each.scripts]
    silent = [f"{each.name}, line {block.line}" for each, block in blocks if not block.reason]
    assert silent == []
    assert not any(block.instead for _, block in blocks), "nothing runs these: they are off the route"
