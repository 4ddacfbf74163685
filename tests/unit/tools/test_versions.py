"""One version everywhere; and a release that would not have that is refused."""

import re
import shutil
from pathlib import Path

import pytest

from devcluster.paths import REPOSITORY
from gpu_relay import __version__
from tools.release import versions


def test_the_version_is_the_same_everywhere() -> None:
    versions.check(REPOSITORY, __version__)


@pytest.mark.parametrize("place", [*versions.PLACES, "CHANGELOG.md"])
def test_one_place_that_was_forgotten_is_named(place: str, tmp_path: Path) -> None:
    for file in (*versions.PLACES, "CHANGELOG.md"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / file, tmp_path / file)
    text = (tmp_path / place).read_text()
    (tmp_path / place).write_text(text.replace(__version__, "9.9.9"))
    with pytest.raises(versions.VersionError, match=rf"{re.escape(place)}: .*9\.9\.9.*, not {__version__}"):
        versions.check(tmp_path, __version__)


def test_what_changed_is_taken_from_the_changelog(tmp_path: Path) -> None:
    (tmp_path / "CHANGELOG.md").write_text(
        "## [2.0.0] - 2026-01-02\n\n### Added\n\n- a\n\n## [1.0.0] - 2026-01-01\n\n- b\n"
    )
    assert versions.changes(tmp_path, "2.0.0") == "### Added\n\n- a\n"
