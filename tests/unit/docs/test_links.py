"""What the pages promise can be found: links, anchors, files that are shown, every page in the site's menu."""

import re
from pathlib import Path

import pytest

from devcluster.paths import REPOSITORY
from tests.support.pages import Page, page, pages, slug, steps

PAGES = {each.name: each for each in pages()}
ELSEWHERE = re.compile(r"[a-z]+:")


def missing(source: Page, link: str) -> str:
    """Return what of a link is not there; empty where all of it is."""
    target, _, anchor = link.partition("#")
    place = (source.path.parent / target).resolve() if target else source.path
    if not place.exists():
        return f"{source.name} links to {target}, which does not exist"
    if anchor and place.suffix == ".md" and anchor not in Page(place).anchors:
        return f"{source.name} links to {link}: no heading of that page has this anchor"
    return ""


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    links = [link for link in PAGES[name].links if not ELSEWHERE.match(link)]
    assert [broken for link in links if (broken := missing(PAGES[name], link))] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_file_that_a_page_shows_is_the_one_of_the_repository(name: str) -> None:
    for path, shown in PAGES[name].files.items():
        assert shown == (REPOSITORY / path).read_text(), path


def test_every_page_is_in_the_menu_of_the_site() -> None:
    menu = set(re.findall(r": (\S+\.md)$", (REPOSITORY / "mkdocs.yml").read_text(), re.MULTILINE))
    assert menu == {file.name for file in (REPOSITORY / "docs").glob("*.md")}


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# What it *costs*, in `MiB`\n")
    (tmp_path / "page.md").write_text("[a](other.md#what-it-costs-in-mib) [b](other.md#cost) [c](lost.md) ![d](x.svg)")
    source = Page(tmp_path / "page.md")
    assert source.links == ["other.md#what-it-costs-in-mib", "other.md#cost", "lost.md", "x.svg"]
    assert source.anchors == set()
    assert Page(tmp_path / "other.md").anchors == {"what-it-costs-in-mib"}


def test_commands_are_read_with_their_output() -> None:
    found = steps("$ cat <<EOF\n> a\n> EOF\na\n\n$ true\n", 10)
    assert [(step.command, step.line, step.expected) for step in found] == [
        ("cat <<EOF\na\nEOF", 10, ["a"]),
        ("true", 15, []),
    ]
    with pytest.raises(ValueError, match="line 3"):
        steps("lost\n", 3)


def test_anchors_are_githubs() -> None:
    assert slug("Why is my job waiting? (`NoGpuFits`)") == "why-is-my-job-waiting-nogpufits"


def test_readme_is_a_page() -> None:
    assert page("README.md").links
