"""Brings the images from their sources into containerd.

sources ──buildah──► layers in <cache>/buildah ──push──► the layers containerd lacks ──one stream──► containerd
"""

import itertools
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from devcluster import oci, paths
from devcluster.containerd import Containerd
from devcluster.image_builder import Builder
from devcluster.images import SOURCES_GIB, Image
from devcluster.progress import logger, require_disk

_LAYOUT = ".layout-"


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
    need = sum(SOURCES_GIB if image.foundation in present else image.load_gib for image in images)
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
