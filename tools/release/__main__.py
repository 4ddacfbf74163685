"""`python -m tools.release`: write all files of a release, from this checkout, into a folder (`make release`)."""

import argparse
import hashlib
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from devcluster import ClusterError, paths
from devcluster.image_builder import Builder
from devcluster.images import IMAGES, INSTALLED, select
from devcluster.sbom import DPKG, bom
from tools.release import versions
from tools.release.manifests import Reference, chart_package, install_files
from tools.release.plugin import krew_plugin
from tools.release.versions import VersionError

ROOT = paths.REPOSITORY
_DOWNLOADS = "https://example.com/gpu-relay/releases/download"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 1 with a sentence on standard error."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        release(options)
    except (VersionError, ClusterError, OSError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"release: {error}\n{error.stderr or ''}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("version", help="as in pyproject.toml, without a v")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder to write to; it is emptied first")
    parser.add_argument("--registry", default="gpu-relay", help="what comes before /operator, /sam3, /yolo")
    parser.add_argument(
        "--downloads", default=_DOWNLOADS, help="where the release's files are downloaded from, for krew"
    )
    parser.add_argument("--images", action="store_true", help="build the images too, and pin their digests; needs root")
    parser.add_argument("--hatchling", required=True, type=Path, help="the program that builds the wheel")
    return parser


def release(options: argparse.Namespace) -> None:
    """Write a release; raises VersionError, ClusterError, OSError or CalledProcessError before it is complete."""
    version, registry, output = options.version, options.registry.rstrip("/"), options.output
    versions.check(ROOT, version)
    _empty(output)
    digests = _images(output) if options.images else {}
    named = {name: Reference(f"{registry}/{name}", version, digests.get(name, "")) for name in INSTALLED}
    _packages(options.hatchling, output)
    chart_package(ROOT, named, version, output)
    install_files(ROOT, named, output)
    (wheel,) = output.glob("*.whl")
    krew_plugin(ROOT, wheel, version, options.downloads.rstrip("/"), output)
    (output / "CHANGES.md").write_text(versions.changes(ROOT, version))
    sums = [f"{_digest(file)}  {file.name}\n" for file in sorted(output.iterdir()) if file.is_file()]
    (output / "SHA256SUMS").write_text("".join(sums))
    print(f"{output}: {', '.join(sorted(each.name for each in output.iterdir()))}")
    if not options.images:
        print("Without images (IMAGES=1) the install files name tags, not digests, and there are no SBOMs.")


def _empty(output: Path) -> None:
    if output.exists() and any(output.iterdir()) and not (output / "SHA256SUMS").exists():
        raise OSError(f"{output} has files that are not from a release: choose another folder")
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)


def _packages(hatchling: Path, output: Path) -> None:
    """Build wheel and sdist; their times are those of the commit, so that the same commit gives the same bytes."""
    when = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=True)
    command = [str(hatchling.absolute()), "build", "-d", str(output.absolute()), "-t", "wheel", "-t", "sdist"]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": when.stdout.strip()}
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)


def _images(output: Path) -> dict[str, str]:
    """Build the images into an OCI layout, `images/`, with their bills of materials; return their digests."""
    builder, chosen = Builder(), select(IMAGES)
    builder.build(chosen)
    digests = {}
    for image in chosen:
        digests[image.name] = str(builder.push(image, output / "images")["digest"])
        (output / f"{image.name}.cdx.json").write_text(bom(image, builder.read(image, DPKG)))
    return digests


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
