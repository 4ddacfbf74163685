"""Builds the images with buildah, as root: same inputs, same digest."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from devcluster import base_image, oci, packages, paths, runs
from devcluster.errors import ClusterError
from devcluster.host import run
from devcluster.images import PREFIX, SOURCES_GIB, Image
from devcluster.packages import find_tool
from devcluster.progress import logger, require_disk, run_long

_CA_IN_BUILD = "/run/ca.pem"


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
            raise ClusterError("building images needs root here; with Docker, build the three Dockerfiles yourself")
        packages.ensure(packages.IMAGE_TOOLS)
        self._cache.mkdir(parents=True, exist_ok=True)
        # The base image may be one made here, which has no signature.
        self._policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        with runs.locked("images"):  # two concurrent builds would build everything twice
            for image in images:
                if not self._has(image.keyed):
                    self._build(image)

    def _build(self, image: Image) -> None:
        logger.info("Building image %s: %s", image.name, image.cost)
        need = SOURCES_GIB if self._has(image.foundation) else image.build_gib
        require_disk(self._cache, need, f"building image {image.name}")
        base_image.ensure(self._buildah(), self._policy)
        self._bud(image, image.references, self._cache / f"image-{image.name}.log")
        for old in filter(image.supersedes, self._tags(image)):
            run(*self._buildah(), "rmi", old, check=False)

    def rebuild(self, image: Image) -> list[str]:
        """Build an image again with nothing of what is there, but for the base, and return its layers' digests."""
        name = f"{PREFIX}/{image.name}:again"
        with runs.locked("images"):
            self._bud(image, [name], self._cache / f"image-{image.name}-again.log", "--no-cache")
            try:
                return self._diff_ids(name)
            finally:
                run(*self._buildah(), "rmi", name)

    def _bud(self, image: Image, references: Iterable[str], log: Path, *flags: str) -> None:
        # The time is set, so that the same input gives the same digest.
        flags = ("--isolation=chroot", "--layers", "--timestamp=0", "--force-rm", *flags, *_ca_flags())
        tags = [f"--tag={reference}" for reference in references]
        trust = f"--signature-policy={self._policy}"
        command = [*self._buildah(), "bud", trust, *flags, *tags, f"--file={image.inputs[0]}", "."]
        run_long(f"image {image.name}", command, log, cwd=paths.REPOSITORY)

    def layers(self, image: Image) -> dict[str, Path]:
        """Return an image's layers, lowest first: the digest of each archive, and the folder where it is unpacked.

        https://github.com/containers/storage/blob/main/layers.go describes the file that lists them.
        """
        store = self._cache / "buildah"
        known = json.loads((store / "overlay-layers" / "layers.json").read_text())
        folders = {layer.get("diff-digest"): store / "overlay" / layer["id"] / "diff" for layer in known}
        return {digest: folders[digest] for digest in self._diff_ids(image.keyed)}

    def _diff_ids(self, reference: str) -> list[str]:
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
        return {reference for reference in listing if reference.startswith(f"{PREFIX}/{image.name}:")}

    def _buildah(self) -> list[str]:
        program = find_tool("buildah") or "buildah"
        # The run root must not survive a reboot, so it does not lie in the cache.
        return [
            program,
            f"--root={self._cache}/buildah",
            "--runroot=/run/gpu-relay-buildah",
            "--storage-driver=overlay",
        ]


def _ca_flags() -> list[str]:
    """Return the flags that let a build trust what this machine trusts, where it says so in its environment."""
    bundle = os.environ.get("SSL_CERT_FILE") or os.environ.get("PIP_CERT")
    if not bundle:
        return []
    names = ("PIP_CERT", "SSL_CERT_FILE")
    return [f"--volume={bundle}:{_CA_IN_BUILD}:ro", *(f"--build-arg={name}={_CA_IN_BUILD}" for name in names)]
