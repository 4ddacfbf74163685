"""The version of the project in all files that have it."""

import re
from pathlib import Path

_NUMBER = r"(\d+\.\d+\.\d+)"
PLACES = {
    "pyproject.toml": rf'^version = "{_NUMBER}"$',
    "operator/gpu_relay/__init__.py": rf'^__version__ = "{_NUMBER}"$',
    "manifests/base/kustomization.yaml": rf"^    newTag: {_NUMBER}$",
    "manifests/overlays/gpu-node/kustomization.yaml": rf"gpu-relay/yolo:{_NUMBER}$",
    "manifests/chart/Chart.yaml": rf"^(?:version|appVersion): {_NUMBER}$",
    "manifests/chart/values.yaml": rf"^  (?:operator|sam3|yolo): .*tag: {_NUMBER},",
    "manifests/samples/complete.yaml": rf"image: gpu-relay/yolo:{_NUMBER}$",
    "manifests/samples/copy-pod.yaml": rf"image: gpu-relay/yolo:{_NUMBER} ",
    "manifests/samples/sam3-copy-pod.yaml": rf"image: gpu-relay/yolo:{_NUMBER} ",
    "manifests/residents/ollama.yaml": rf"image: gpu-relay/adapter:{_NUMBER} ",
    "docs/operations.md": rf"gpu-relay/yolo:{_NUMBER}",
    "docs/install.md": rf":{_NUMBER} ",
}
"""Files, and how the version stands in them; each must have it at least once."""
_CHANGES = "CHANGELOG.md"
_RELEASED = re.compile(rf"^## \[{_NUMBER}\] - \d{{4}}-\d\d-\d\d$", re.MULTILINE)


class VersionError(Exception):
    """The versions differ; the message names the file and the version in it."""


def check(root: Path, version: str) -> None:
    """Raise VersionError unless every place has this version, and the changelog begins with it."""
    wrong = [sentence for file, pattern in PLACES.items() if (sentence := _differs(root / file, pattern, version))]
    released = _RELEASED.findall((root / _CHANGES).read_text())
    if released[:1] != [version]:
        wrong.append(f"{_CHANGES}: its newest version is {released[0] if released else 'missing'}, not {version}")
    if wrong:
        raise VersionError("\n".join(wrong))


def changes(root: Path, version: str) -> str:
    """Return what the changelog says of a version that it has."""
    _, _, rest = (root / _CHANGES).read_text().partition(f"## [{version}]")
    return rest.partition("\n")[2].partition("\n## [")[0].strip() + "\n"


def _differs(file: Path, pattern: str, version: str) -> str:
    found = re.findall(pattern, file.read_text(), re.MULTILINE)
    if found and set(found) == {version}:
        return ""
    return f"{file}: {', '.join(found) or 'no version'}, not {version}"
