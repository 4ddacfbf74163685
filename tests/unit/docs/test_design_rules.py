"""docs/design-rules.md names every law that the code cites, and tests that exist."""

import re
from pathlib import Path

import pytest

from devcluster.paths import REPOSITORY
from tests.support.pages import page

TEXT = page("docs/design-rules.md").path.read_text()
LAWS = [int(number) for number in re.findall(r"^## Law (\d+):", TEXT, re.MULTILINE)]
CITED = re.findall(r"^- `(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT, re.MULTILINE)
ROOTS = ("operator", "images", "tests", "bench", "docs")


def laws_in(text: str) -> set[int]:
    """Return the numbers of the laws that a text cites: "law 3", "laws 2, 3 and 10"."""
    found = re.findall(r"\b[Ll]aws? (\d+(?:(?:, | and | to )\d+)*)", text)
    return {int(number) for each in found for number in re.findall(r"\d+", each)}


def test_the_laws_are_numbered() -> None:
    assert list(range(1, 11)) == LAWS


@pytest.mark.parametrize(("path", "name"), CITED)
def test_a_cited_test_exists(path: str, name: str) -> None:
    file = REPOSITORY / path
    assert file.is_file()
    if name:
        assert re.search(rf"^(async )?def {name}\(", file.read_text(), re.MULTILINE), f"{path} has no test {name}"


def test_every_law_cites_a_test() -> None:
    parts = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]
    assert [part.splitlines()[0] for part in parts if part.startswith("Law") and "- `tests/" not in part] == []


def test_the_code_cites_laws_that_exist() -> None:
    files = [file for root in ROOTS for end in ("py", "md") for file in (REPOSITORY / root).rglob(f"*.{end}")]
    unknown = {file: laws_in(file.read_text(errors="replace")) - set(LAWS) for file in files if file != Path(__file__)}
    assert {str(file): laws for file, laws in unknown.items() if laws} == {}


def test_citations_are_found() -> None:
    assert laws_in("(law 3), laws 2, 4 and 10; Law 11.") == {2, 3, 4, 10, 11}
