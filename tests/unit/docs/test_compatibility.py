import re
from pathlib import Path

import pytest

from devcluster import versions

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "compatibility.md").read_text()


@pytest.mark.parametrize("version", [versions.KUBERNETES, versions.KUEUE, versions.PROMETHEUS])
def test_the_page_names_the_versions_of_the_local_cluster(version: str) -> None:
    assert version in PAGE


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("sam3", "torch"),
        ("yolo", "torch"),
        ("sam3", "transformers"),
        ("yolo", "ultralytics-opencv-headless"),
        ("operator", "kopf"),
        ("operator", "kubernetes"),
        ("sam3", "nvidia-ml-py"),
        ("yolo", "nvidia-ml-py"),
    ],
)
def test_the_page_names_the_versions_in_the_images(file: str, package: str) -> None:
    pinned = re.search(rf"^{package}==(\S+)", (ROOT / "requirements" / f"{file}.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert pinned[1] in PAGE
