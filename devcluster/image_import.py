"""Brings the images from their sources into containerd.

sources ──buildah──► layers in <cache>/buildah ──hard links──► containerd's snapshots
                     manifests and configurations ──one stream──► containerd

Both keep an unpacked layer as a folder that overlayfs mounts, in the same form: nothing is packed, copied or unpacked.
"""

import itertools
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from devcluster import oci, paths
from devcluster.containerd import Containerd
from devcluster.image_builder import Builder
from devcluster.images import SOURCES_GIB, Image
from devcluster.progress import logger, require_disk

_LAYOUT = ".layout-"


def load(images: Iterable[Image], builder: Builder, containerd: Containerd) -> None:
    """Have these images in containerd, building and importing what it lacks."""
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
    require_disk(paths.cache(), SOURCES_GIB, "importing images into containerd")
    logger.info("Importing %s into containerd: about 10 seconds", ", ".join(image.name for image in images))
    snapshots = containerd.snapshots()
    with tempfile.TemporaryDirectory(dir=paths.cache(), prefix=_LAYOUT) as scratch:
        layout = Path(scratch)
        manifests: list[tuple[str, oci.Descriptor]] = []
        needed: set[str] = set()
        for image in images:
            layers = builder.layers(image)
            needed |= _add_layers(layers, snapshots | needed, containerd)
            placeholders = _place(layout, layers)
            descriptor = builder.push(image, layout)
            for placeholder in placeholders:
                placeholder.unlink()
            manifests += [(reference, descriptor) for reference in image.references]
        blobs = {f"sha256:{file.name}": file for file in (layout / "blobs" / "sha256").iterdir()}
        containerd.load(lambda stream: oci.write_archive(stream, blobs, manifests))
    for name in needed:
        containerd.release_snapshot(name)


def _add_layers(layers: Mapping[str, Path], present: Collection[str], containerd: Containerd) -> set[str]:
    """Have an image's layers as snapshots; return the names of all."""
    names = chain_ids(list(layers))
    for name, parent, folder in zip(names, ["", *names], layers.values(), strict=False):
        if name not in present:
            containerd.add_snapshot(name, parent, folder)
    return set(names)


def chain_ids(diff_ids: list[str]) -> list[str]:
    """Return the chain id of every layer: what containerd calls the snapshot of it and all layers below it."""
    return list(itertools.accumulate(diff_ids, lambda below, layer: oci.digest_of(f"{below} {layer}".encode())))


def _place(layout: Path, digests: Iterable[str]) -> list[Path]:
    """Put an empty file where each layer would go: buildah takes it for written. Return the files."""
    blobs = [oci.blob_path(layout, digest) for digest in digests]
    for blob in blobs:
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.touch()
    return blobs
