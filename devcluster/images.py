"""The project's three images: what each is made of, and the key that names its present state.

An image is known by a hash of everything it is made of, its *key*, which is also its tag beside `dev`: an image whose
key is there already is neither built nor imported.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from devcluster import paths
from devcluster.errors import ClusterError

PREFIX = "localhost/gpu-relay"
#: Disk that a change of sources alone needs, in GiB.
SOURCES_GIB = 0.5
_KEY_DIGITS = 12
_COMMON_INPUTS = (".dockerignore", "requirements/uv.txt")


@dataclass(frozen=True)
class Image:
    """One image: its name, and the files under the repository that it is made of, Dockerfile first."""

    name: str
    inputs: tuple[str, ...]
    cost: str
    build_gib: float

    @property
    def reference(self) -> str:
        """The name by which pods ask for it."""
        return f"{PREFIX}/{self.name}:dev"

    @property
    def keyed(self) -> str:
        """The name that says what it is made of."""
        return f"{PREFIX}/{self.name}:{self.key}"

    @cached_property
    def key(self) -> str:
        """A hash over all its inputs, taken once: sources may change while an image is on its way."""
        return hash_inputs(paths.REPOSITORY, (*_COMMON_INPUTS, *self.inputs))

    @cached_property
    def foundation(self) -> str:
        """The name that says what lies below its sources: nearly all of its size, and of the time to build it."""
        below = [name for name in self.inputs if name.endswith(("Dockerfile", ".txt"))]
        return f"{PREFIX}/{self.name}:below-{hash_inputs(paths.REPOSITORY, (*_COMMON_INPUTS, *below))}"

    @property
    def references(self) -> tuple[str, str, str]:
        """All names that the image has in its present state."""
        return self.reference, self.keyed, self.foundation

    def supersedes(self, reference: str) -> bool:
        """Say whether a reference names an earlier state of this image."""
        return reference.startswith(f"{PREFIX}/{self.name}:") and reference not in self.references


_LARGE = "about 3 minutes and 7 GB the first time, seconds when only sources have changed"
IMAGES = {
    image.name: image
    for image in (
        Image(
            "sam3",
            (
                "images/sam3/Dockerfile",
                "requirements/torch.txt",
                "requirements/sam3.txt",
                "images/common/gpu_memory",
                "images/common/residency",
                "images/sam3/sam3_server",
            ),
            _LARGE,
            build_gib=13.0,
        ),
        Image(
            "yolo",
            (
                "images/yolo/Dockerfile",
                "requirements/torch.txt",
                "requirements/yolo.txt",
                "images/yolo/LICENSE",
                "images/common/gpu_memory",
                "images/yolo/yolo_trainer",
            ),
            f"{_LARGE}; it shares most layers with sam3",
            build_gib=2.0,
        ),
        Image(
            "adapter",
            (
                "images/adapter/Dockerfile",
                "requirements/adapter.txt",
                "images/common/gpu_memory",
                "images/common/residency",
                "images/adapter/relay_adapter",
            ),
            "under a minute and 0.4 GB the first time",
            build_gib=1.0,
        ),
        Image(
            "operator",
            ("operator/Dockerfile", "requirements/operator.txt", "operator/gpu_relay", "operator/relay_page"),
            "under a minute and 0.3 GB the first time",
            build_gib=1.0,
        ),
    )
}


def select(names: Iterable[str]) -> list[Image]:
    """Return the images of these names; raises ClusterError for an unknown name."""
    names = list(names)
    if unknown := [name for name in names if name not in IMAGES]:
        raise ClusterError(f"no such image: {', '.join(unknown)}; there are {', '.join(IMAGES)}")
    # Fresh copies, whose keys are of this moment.
    return [replace(image) for name, image in IMAGES.items() if name in names]


#: Disk that all images need at their first use, in GiB.
INSTALLED = ("sam3", "yolo", "operator")
"""What an install runs; the adapter is for other inference servers."""
FIRST_USE_GIB = sum(IMAGES[name].build_gib for name in INSTALLED)


def hash_inputs(root: Path, inputs: Iterable[str]) -> str:
    """Return a hash over names and contents of files and folders below `root`; what Python caches does not count."""
    digest = hashlib.sha256()
    for file in _files(root, inputs):
        digest.update(f"{file.relative_to(root)}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:_KEY_DIGITS]


def _files(root: Path, inputs: Iterable[str]) -> Iterator[Path]:
    for name in inputs:
        path = root / name
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (file for file in found if file.is_file() and "__pycache__" not in file.parts)
