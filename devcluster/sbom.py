"""Write a software bill of materials (CycloneDX 1.6) of each image: the packages of its lock files and of Debian.

    python -m devcluster.sbom sbom/        # writes sbom/<image>.cdx.json; builds images that have changed

The same image gives the same file, byte for byte: it has no time, and its serial number is made from the image's key.
`cyclonedx-py requirements` ignores environment markers, and so lists two versions of NumPy: lock files are read here.
"""

import argparse
import uuid
from collections.abc import Iterable, Iterator
from email.parser import Parser
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement

from devcluster import paths
from devcluster.image_builder import Builder
from devcluster.images import IMAGES, Image, select

_NAMESPACE = uuid.UUID("2b0ee8f0-7a8f-4f57-9d3b-6c1a3c8a5d11")
DPKG = "var/lib/dpkg/status"
"""The list of the Debian packages that an image has."""
#: Where the images run: Debian's Python on Linux.
_ENVIRONMENT = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.13.5",
    "python_version": "3.13",
    "sys_platform": "linux",
}


def locked(text: str) -> Iterator[Requirement]:
    """Return what a lock file installs into an image.

    Raises ValueError for a requirement that is not pinned to one version, or has no hash.
    """
    for entry in text.replace("\\\n", " ").splitlines():
        line, _, hashes = entry.partition("--hash=")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        requirement = Requirement(line.strip())
        if not hashes or not str(requirement.specifier).startswith("=="):
            raise ValueError(f"{requirement.name} is not locked: it needs one version and its hashes")
        if requirement.marker is None or requirement.marker.evaluate(_ENVIRONMENT):
            yield requirement


def python_components(texts: Iterable[str]) -> list[Component]:
    """Return the Python packages of lock files, each once."""
    found = {each.name: str(each.specifier).removeprefix("==") for text in texts for each in locked(text)}
    return [_library(PackageURL("pypi", name=name, version=version)) for name, version in sorted(found.items())]


def debian_components(status: str) -> list[Component]:
    """Return the packages that dpkg's status file says are installed."""
    entries = (Parser().parsestr(entry) for entry in status.split("\n\n") if entry.strip())
    installed = (entry for entry in entries if entry["Status"] == "install ok installed")
    return [
        _library(
            PackageURL(
                "deb", "debian", entry["Package"], entry["Version"],
                qualifiers={"arch": entry["Architecture"], "distro": "trixie"},
            )
        )
        for entry in installed
    ]  # fmt: skip


def bom(image: Image, status: str) -> str:
    """Return an image's bill of materials; `status` is its dpkg's status file."""
    locks = [paths.REPOSITORY / name for name in image.inputs if name.endswith(".txt")]
    components = [*debian_components(status), *python_components(lock.read_text() for lock in locks)]
    name = f"gpu-relay/{image.name}"
    whole = Component(name=name, version=image.key, bom_ref=name, type=ComponentType.CONTAINER)
    listed = Bom(components=components, serial_number=uuid.uuid5(_NAMESPACE, f"{image.name}:{image.key}"))
    listed.metadata.component = whole
    listed.metadata.timestamp = None  # type: ignore[assignment]  # optional in the format, if not in the library
    listed.register_dependency(whole, components)
    return str(JsonV1Dot6(listed).output_as_string(indent=1))


def _library(url: PackageURL) -> Component:
    name, reference = url.name, url.to_string()
    return Component(name=name, version=url.version, purl=url, bom_ref=reference, type=ComponentType.LIBRARY)


def main() -> None:
    """Write one file for each image."""
    parser = argparse.ArgumentParser(prog="python -m devcluster.sbom", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("images", nargs="*", default=list(IMAGES), help="which images (default: all)")
    options = parser.parse_args()
    builder, chosen = Builder(), select(options.images)
    builder.build(chosen)
    options.folder.mkdir(parents=True, exist_ok=True)
    for image in chosen:
        file = options.folder / f"{image.name}.cdx.json"
        file.write_text(bom(image, builder.read(image, DPKG)))
        print(file)


if __name__ == "__main__":
    main()
