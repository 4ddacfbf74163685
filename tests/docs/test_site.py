"""The site that `make docs` built: it asks nothing of other hosts, and shows what pages link to in the repository."""

import re
import subprocess
from pathlib import Path

import pytest

from devcluster.paths import REPOSITORY

RESOURCE = re.compile(r"""<(?:script|img|iframe|source)[^>]*\ssrc=["']?(?:https?:)?//[^"'> ]+""")
STYLE = re.compile(r"""<link[^>]*rel=["']?(?:stylesheet|preconnect|icon)[^>]*href=["']?(?:https?:)?//[^"'> ]+""")
FONT = re.compile(r"""url\(["']?(?:https?:)?//[^)]+|@import[^;]*//""")


@pytest.fixture(scope="module")
def site() -> Path:
    """The site, built again in strict mode."""
    done = subprocess.run(["make", "docs"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return REPOSITORY / "build" / "docs"


def test_it_asks_nothing_of_other_hosts(site: Path) -> None:
    pages = {file: file.read_text() for file in site.rglob("*.html")}
    styles = {file: file.read_text() for file in site.rglob("*.css")}
    rules = [(RESOURCE, pages), (STYLE, pages), (FONT, styles)]
    asked = [(file, found) for rule, files in rules for file, text in files.items() for found in rule.findall(text)]
    assert len(pages) > 10
    assert asked == []


def test_links_into_the_repository_show_its_files(site: Path) -> None:
    shown = (site / "repository" / "manifests" / "base" / "kustomization.yaml.html").read_text()
    assert "newTag" in shown
    link = 'href="repository/manifests/base/kustomization.yaml.html"'
    assert link in (site / "install.html").read_text()
