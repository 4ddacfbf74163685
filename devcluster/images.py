"""The project's three images: what each is made of, and how they get from their sources into containerd.

    sources ──buildah──► layers in <cache>/buildah ──push──► the layers containerd lacks ──one stream──► containerd

An image is known by a hash of everything it is made of, its *key*, which is also its tag beside `dev`: an image whose
key is there already is neither built nor imported.
"""

import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from devcluster import base_image, oci, packages, paths, runs
from devcluster.containerd import Containerd
from devcluster.errors import ClusterError
from devcluster.host import run
from devcluster.packages import find_tool
from devcluster.progress import logger, require_disk, run_long

_PREFIX = "localhost/gpu-relay"
_CA_IN_BUILD = "/run/ca.pem"
_KEY_DIGITS = 12
_LAYOUT = ".layout-"
#: Disk that a change of sources alone needs, in GiB.
_SOURCES_GIB = 0.5
_COMMON_INPUTS = (".dockerignore", "requirements/uv.txt")


@dataclass(frozen=True)
class Image:
    """One image: its name, and the files under the repository that it is made of, Dockerfile first."""

    name: str
    inputs: tuple[str, ...]
    cost: str
    build_gib: float
    load_gib: float

    @property
    def reference(self) -> str:
        """The name by which pods ask for it."""
        return f"{_PREFIX}/{self.name}:dev"

    @property
    def keyed(self) -> str:
        """The name that says what it is made of."""
        return f"{_PREFIX}/{self.name}:{self.key}"

    @cached_property
    def key(self) -> str:
        """A hash over all its inputs, taken once: sources may change while an image is on its way."""
        return hash_inputs(paths.REPOSITORY, (*_COMMON_INPUTS, *self.inputs))

    @cached_property
    def foundation(self) -> str:
        """The name that says what lies below its sources: nearly all of its size, and of the time to build it."""
        below = [name for name in self.inputs if name.endswith(("Dockerfile", ".txt"))]
        return f"{_PREFIX}/{self.name}:below-{hash_inputs(paths.REPOSITORY, (*_COMMON_INPUTS, *below))}"

    @property
    def references(self) -> tuple[str, str, str]:
        """All names that the image has in its present state."""
        return self.reference, self.keyed, self.foundation

    def supersedes(self, reference: str) -> bool:
        """Say whether a reference names an earlier state of this image."""
        return reference.startswith(f"{_PREFIX}/{self.name}:") and reference not in self.references


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
                "images/sam3/sam3_server",
            ),
            _LARGE,
            build_gib=13.0,
            load_gib=10.0,
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
            load_gib=2.0,
        ),
        Image(
            "operator",
            ("operator/Dockerfile", "requirements/operator.txt", "operator/gpu_relay", "operator/relay_page"),
            "under a minute and 0.3 GB the first time",
            build_gib=1.0,
            load_gib=1.0,
        ),
    )
}


def select(names: Iterable[str]) -> list[Image]:
    """Return the images of these names; raises ClusterError for a name that is none."""
    names = list(names)
    if unknown := [name for name in names if name not in IMAGES]:
        raise ClusterError(f"no such image: {', '.join(unknown)}; there are {', '.join(IMAGES)}")
    # Fresh copies, whose keys are of this moment.
    return [replace(image) for name, image in IMAGES.items() if name in names]


#: Disk that all images need at their first use, built and imported, in GiB.
FIRST_USE_GIB = sum(image.load_gib for image in IMAGES.values()) + max(image.build_gib for image in IMAGES.values())


class Builder:
    """Builds images with buildah, as root, into a store of this cache."""

    def __init__(self) -> None:
        self._cache = paths.cache()
        self._policy = self._cache / "buildah-policy.json"

    def build(self, images: Iterable[Image]) -> None:
        """Build those images whose key the store lacks.

        Raises ClusterError when this is not root, the disk is too small, or a build fails.
        """
        if os.geteuid() != 0:
            raise ClusterError("building images needs root here; with Docker, build the three Dockerfiles by hand")
        packages.ensure(packages.IMAGE_TOOLS)
        self._cache.mkdir(parents=True, exist_ok=True)
        # The base image may be one made here, which nobody has signed.
        self._policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        with runs.locked("images"):  # two builds at once would build everything twice
            for image in images:
                if not self._has(image.keyed):
                    self._build(image)

    def _build(self, image: Image) -> None:
        logger.info("Building image %s: %s", image.name, image.cost)
        need = _SOURCES_GIB if self._has(image.foundation) else image.build_gib
        require_disk(self._cache, need, f"building image {image.name}")
        base_image.ensure(self._buildah(), self._policy)
        self._bud(image, image.references, self._cache / f"image-{image.name}.log")
        for old in filter(image.supersedes, self._tags(image)):
            run(*self._buildah(), "rmi", old, check=False)

    def rebuild(self, image: Image) -> list[str]:
        """Build an image again with nothing of what is there, but for the base, and return what `diff_ids` does."""
        name = f"{_PREFIX}/{image.name}:again"
        with runs.locked("images"):
            self._bud(image, [name], self._cache / f"image-{image.name}-again.log", "--no-cache")
            try:
                return self._layers(name)
            finally:
                run(*self._buildah(), "rmi", name)

    def _bud(self, image: Image, references: Iterable[str], log: Path, *flags: str) -> None:
        # The time is set, so that the same input gives the same digest.
        flags = ("--isolation=chroot", "--layers", "--timestamp=0", "--force-rm", *flags, *_ca_flags())
        tags = [f"--tag={reference}" for reference in references]
        trust = f"--signature-policy={self._policy}"
        command = [*self._buildah(), "bud", trust, *flags, *tags, f"--file={image.inputs[0]}", "."]
        run_long(f"image {image.name}", command, log, cwd=paths.REPOSITORY)

    def diff_ids(self, image: Image) -> list[str]:
        """Return the digests of an image's uncompressed layers, lowest first."""
        return self._layers(image.keyed)

    def _layers(self, reference: str) -> list[str]:
        description = json.loads(run(*self._buildah(), "inspect", "--type", "image", reference))
        return list(description["OCIv1"]["rootfs"]["diff_ids"])

    def read(self, image: Image, file: str) -> str:
        """Return the text of a file of an image that is built; `file` is a path below its root."""
        container = run(*self._buildah(), "from", f"--signature-policy={self._policy}", image.keyed).strip()
        try:
            return (Path(run(*self._buildah(), "mount", container).strip()) / file).read_text()
        finally:
            run(*self._buildah(), "rm", container, check=False)

    def push(self, image: Image, layout: Path) -> oci.Descriptor:
        """Write an image into a layout folder, but for layers that lie there, and return its manifest's descriptor."""
        # zstd at its fastest: a third of the disk for the time that plain writing would take.
        flags = [
            "--format=oci",
            "--compression-format=zstd",
            "--compression-level=1",
            f"--signature-policy={self._policy}",
        ]
        command = [*self._buildah(), "push", *flags, image.keyed, f"oci:{layout}:{image.name}"]
        run_long(f"reading image {image.name}", command, self._cache / f"push-{image.name}.log")
        for descriptor in json.loads((layout / "index.json").read_text())["manifests"]:
            if descriptor.get("annotations", {}).get("org.opencontainers.image.ref.name") == image.name:
                return {key: descriptor[key] for key in ("mediaType", "digest", "size")}
        raise ClusterError(f"buildah wrote no manifest of image {image.name} into {layout}")

    def _has(self, reference: str) -> bool:
        return bool(run(*self._buildah(), "images", "--quiet", reference, check=False).strip())

    def _tags(self, image: Image) -> set[str]:
        listing = run(*self._buildah(), "images", "--format", "{{.Name}}:{{.Tag}}", check=False).split()
        return {reference for reference in listing if reference.startswith(f"{_PREFIX}/{image.name}:")}

    def _buildah(self) -> list[str]:
        program = find_tool("buildah") or "buildah"
        # The run root must not survive a reboot, so it does not lie in the cache.
        return [
            program,
            f"--root={self._cache}/buildah",
            "--runroot=/run/gpu-relay-buildah",
            "--storage-driver=overlay",
        ]


def load(images: Iterable[Image], builder: Builder, containerd: Containerd) -> None:
    """Have these images in containerd, building and importing what it lacks in one stream."""
    images = list(images)
    present = containerd.images()
    missing = [image for image in images if image.keyed not in present]
    if missing:
        builder.build(missing)
        _import(missing, builder, containerd)
    # One key at a time: `dev` names the image whose key is there.
    containerd.remove_images([old for image in missing for old in present if image.supersedes(old)])
    containerd.remove_unnamed_images()


def _import(images: list[Image], builder: Builder, containerd: Containerd) -> None:
    for unfinished in paths.cache().glob(f"{_LAYOUT}*"):  # of an import that was killed
        shutil.rmtree(unfinished, ignore_errors=True)
    present = containerd.images()
    need = sum(_SOURCES_GIB if image.foundation in present else image.load_gib for image in images)
    require_disk(paths.cache(), need, "importing images into containerd")
    chains = containerd.snapshots()
    with tempfile.TemporaryDirectory(dir=paths.cache(), prefix=_LAYOUT) as scratch:
        layout = Path(scratch)
        manifests: list[tuple[str, oci.Descriptor]] = []
        placeholders: set[str] = set()
        for image in images:
            diff_ids = builder.diff_ids(image)
            known = [diff for diff, chain in zip(diff_ids, chain_ids(diff_ids), strict=True) if chain in chains]
            placeholders |= _place(layout, known)
            descriptor = builder.push(image, layout)
            manifests += [(reference, descriptor) for reference in image.references]
            chains |= set(chain_ids(diff_ids))
        files = [file for file in (layout / "blobs" / "sha256").iterdir() if file.name not in placeholders]
        blobs: dict[str, bytes | Path] = {f"sha256:{file.name}": file for file in files}
        size = sum(file.stat().st_size for file in files)
        names = ", ".join(image.name for image in images)
        logger.info("Importing %s into containerd: %.1f GB, about half a minute for each GB", names, size / 1e9)
        containerd.load(lambda stream: oci.write_archive(stream, blobs, manifests))
        # Unpacked, the layers are of no more use as archives: 3 GB.
        layers = {digest for _, manifest in manifests for digest in oci.layers_of(layout, manifest["digest"])}
        containerd.remove_blobs(layers & blobs.keys())


def chain_ids(diff_ids: list[str]) -> list[str]:
    """Return the chain id of every layer: what containerd calls the snapshot of it and all layers below it."""
    return list(itertools.accumulate(diff_ids, lambda below, layer: oci.digest_of(f"{below} {layer}".encode())))


def _place(layout: Path, digests: Iterable[str]) -> set[str]:
    """Put an empty file where a layer would go that containerd has unpacked: buildah takes it for written."""
    placed = set()
    for digest in digests:
        blob = oci.blob_path(layout, digest)
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.touch()
        placed.add(blob.name)
    return placed


def _ca_flags() -> list[str]:
    """Return the flags that let a build trust what this machine trusts, where it says so in its environment."""
    bundle = os.environ.get("SSL_CERT_FILE") or os.environ.get("PIP_CERT")
    if not bundle:
        return []
    names = ("PIP_CERT", "SSL_CERT_FILE")
    return [f"--volume={bundle}:{_CA_IN_BUILD}:ro", *(f"--build-arg={name}={_CA_IN_BUILD}" for name in names)]


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
