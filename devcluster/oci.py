"""OCI archives, written as one stream: the images of a layout folder, and the pause image made from its one binary."""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
#: The annotation by which containerd names what it imports.
NAME = "io.containerd.image.name"

Descriptor = dict[str, Any]


def digest_of(data: bytes) -> str:
    """Return `sha256:…` of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def blob_path(layout: Path, digest: str) -> Path:
    """Return where a layout folder keeps a blob."""
    return layout / "blobs" / digest.replace(":", "/")


def write_archive(
    stream: IO[bytes], blobs: Mapping[str, bytes | Path], images: Iterable[tuple[str, Descriptor]]
) -> None:
    """Write an OCI archive: blobs by digest, and images as (reference, descriptor of the manifest)."""
    manifests = [{**descriptor, "annotations": {NAME: reference}} for reference, descriptor in images]
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests}
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        for digest, content in blobs.items():
            _add(archive, f"blobs/{digest.replace(':', '/')}", content)
        _add(archive, "index.json", json.dumps(index).encode())


def pause_reference(binary: Path) -> str:
    """Return the pause image's reference, which changes with its binary."""
    return f"localhost/gpu-relay/pause:{digest_of(binary.read_bytes())[7:19]}"


def write_pause(binary: Path, reference: str, stream: IO[bytes]) -> None:
    """Write the archive of an image that holds nothing but `/pause`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer_tar:
        _add(layer_tar, "pause", binary.read_bytes(), mode=0o755)
    layer = buffer.getvalue()
    config = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Entrypoint": ["/pause"], "User": "65532:65532"},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, config),
            "layers": [_descriptor(_LAYER, layer)],
        }
    ).encode()
    blobs = {digest_of(blob): blob for blob in (layer, config, manifest)}
    write_archive(stream, blobs, [(reference, _descriptor(_MANIFEST, manifest))])


def _descriptor(media_type: str, data: bytes) -> Descriptor:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def _add(archive: tarfile.TarFile, name: str, content: bytes | Path, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode = mode
    if isinstance(content, Path):
        entry.size = content.stat().st_size
        with content.open("rb") as file:
            archive.addfile(entry, file)
    else:
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
