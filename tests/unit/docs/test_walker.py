"""The walker itself: what it takes for the output that a page promises, and what it stops at."""

from pathlib import Path

import pytest

from tests.support.pages import Page
from tests.support.walk import Walker, fits


@pytest.mark.parametrize(
    ("expected", "shown", "fitting"),
    [
        ([], "anything\n", True),
        (["a b"], "a    b\n\n", True),
        (["a"], "a\nb\n", False),
        (["…", "b"], "a\na\nb\n", True),
        (["…"], "", True),
        (["pod-… 1/1"], "pod-x7 1/1\n", True),
        (["pod-… 1/1"], "pod-x7 0/1\n", False),
        (['{"a":…"b":1…}'], '{"a":7,"b":1}\n', True),
    ],
)
def test_output_fits_what_the_page_says(expected: list[str], shown: str, fitting: bool) -> None:
    assert fits(expected, shown) is fitting


def test_variables_and_folder_stay_from_command_to_command(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    walker = Walker(tmp_path)
    assert walker.run("export A=1; cd sub") == (0, "")
    assert walker.run("echo $A $PWD; false") == (1, f"1 {tmp_path}/sub\n")


@pytest.mark.parametrize(
    ("block", "stops_at"),
    [
        ("```console\n$ echo a\na\n$ false # refused\n```\n", ""),
        ("```console\n$ false\n```\n", "the page: it succeeds"),
        ("```console\n$ true # refused\n```\n", "the page: it fails"),
        ("```console\n$ echo a\nb\n```\n", "and the page says\nb"),
        ("<!-- not run: no GPU here -->\n```console\n$ false\n```\n", ""),
        ("<!-- not run: no GPU here\n$ false\n-->\n```console\n$ true\n```\n", "the page: it succeeds"),
    ],
)
def test_it_stops_at_the_first_command_that_does_otherwise(tmp_path: Path, block: str, stops_at: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(block)
    walker = Walker(tmp_path)
    if not stops_at:
        walker.walk(Page(page))
        return
    with pytest.raises(AssertionError, match=stops_at):
        walker.walk(Page(page))
