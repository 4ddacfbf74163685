"""What is installed: an install file for each overlay and the chart's package, with the images of this release."""

import gzip
import io
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from devcluster.kubectl import find_kubectl

TEMPLATES = frozenset({"local", "gpu-node"})
"""Overlays without an install file: that of the local Kubernetes, and the one to copy and change."""
_NOT_PACKAGED = ("source", "examples")
"""Folders of the chart that its package does not have, as in .helmignore."""


@dataclass(frozen=True)
class Reference:
    """Where an image of the release is: its repository, and its tag or, where it is known, its digest."""

    repository: str
    tag: str
    digest: str = ""


def install_files(root: Path, images: dict[str, Reference], folder: Path) -> list[Path]:
    """Write `install-<name>.yaml` for the base and each overlay of the checkout `root`; `images` by their short names.

    `install-cluster.yaml` is what a cluster has once, for overlays of one namespace.
    """
    with tempfile.TemporaryDirectory() as scratch:
        for part in ("manifests", "crds"):
            shutil.copytree(root / part, Path(scratch) / part)
        manifests = Path(scratch) / "manifests"
        _name_images(manifests / "base" / "kustomization.yaml", images)
        overlays = sorted(each for each in (manifests / "overlays").iterdir() if each.name not in TEMPLATES)
        installed = [manifests / "cluster", manifests / "base", *overlays]
        return [_install_file(kustomization, folder) for kustomization in installed]


def chart_package(root: Path, images: dict[str, Reference], version: str, folder: Path) -> Path:
    """Write the chart as `helm package` would, the same bytes each time."""
    chart = root / "manifests" / "chart"
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        files = (file for file in chart.rglob("*") if file.is_file() and file.suffix in {".yaml", ".tpl", ".json"})
        for file in sorted(file for file in files if file.relative_to(chart).parts[0] not in _NOT_PACKAGED):
            content = file.read_text()
            if file == chart / "values.yaml":
                content = _values(content, images)
            entry = tarfile.TarInfo(f"gpu-relay/{file.relative_to(chart)}")
            entry.size = len(content.encode())
            archive.addfile(entry, io.BytesIO(content.encode()))
    package = folder / f"gpu-relay-{version}.tgz"
    package.write_bytes(gzip.compress(plain.getvalue(), mtime=0))
    return package


def _name_images(kustomization: Path, images: dict[str, Reference]) -> None:
    content = yaml.safe_load(kustomization.read_text())
    content["images"] = [
        {
            "name": f"gpu-relay/{name}",
            "newName": image.repository,
            **({"digest": image.digest} if image.digest else {"newTag": image.tag}),
        }
        for name, image in images.items()
    ]
    kustomization.write_text(yaml.safe_dump(content, sort_keys=False))


def _install_file(kustomization: Path, folder: Path) -> Path:
    done = subprocess.run([find_kubectl(), "kustomize", kustomization], capture_output=True, text=True, check=True)
    file = folder / f"install-{kustomization.name}.yaml"
    file.write_text(done.stdout)
    return file


def _values(text: str, images: dict[str, Reference]) -> str:
    """Return the chart's values with the images of this release; comments stay."""
    for name, image in images.items():
        line = f'  {name}: {{repository: {image.repository}, tag: {image.tag}, digest: "{image.digest}"}}'
        text, count = re.subn(rf"^  {name}: {{repository: .*}}$", line, text, flags=re.MULTILINE)
        if count != 1:
            raise ValueError(f"values.yaml of the chart has no line for the image {name}")
    return text
