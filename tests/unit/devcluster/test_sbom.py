"""Bills of materials: valid CycloneDX, the same each time, of everything that is locked and installed."""

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from devcluster import paths, sbom
from devcluster.images import IMAGES

STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.41-12

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0

Package: tzdata
Status: install ok installed
Architecture: all
Version: 2025b-4+deb13u1
Description: time zones
 of the world
"""


@pytest.mark.parametrize("name", IMAGES)
def test_it_is_valid_and_lists_what_is_there(name: str) -> None:
    text = sbom.bom(IMAGES[name], STATUS)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert text == sbom.bom(IMAGES[name], STATUS)
    urls = {component["purl"] for component in json.loads(text)["components"]}
    debian = {url for url in urls if url.startswith("pkg:deb/")}
    assert debian == {
        "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=trixie",
        "pkg:deb/debian/tzdata@2025b-4%2Bdeb13u1?arch=all&distro=trixie",
    }
    expected = {"operator": "kopf", "sam3": "transformers", "yolo": "ultralytics-opencv-headless", "adapter": "aiohttp"}
    assert any(url.startswith(f"pkg:pypi/{expected[name]}@") for url in urls)


def test_everything_is_locked_with_hashes() -> None:
    for lock in sorted((paths.REPOSITORY / "requirements").glob("*.txt")):
        assert list(sbom.locked(lock.read_text())), lock.name


@pytest.mark.parametrize("line", ["kopf==1.45.2", "kopf>=1 --hash=sha256:00"])
def test_what_is_not_locked_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match="kopf is not locked"):
        list(sbom.locked(line))


def test_packages_of_other_systems_are_left_out() -> None:
    text = "colorama==0.4.6 ; sys_platform == 'win32' --hash=sha256:00\nsix==1.17.0 --hash=sha256:00\n"
    assert [each.name for each in sbom.locked(text)] == ["six"]
