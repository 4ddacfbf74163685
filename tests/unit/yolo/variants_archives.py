"""Variants of archives, which plain Ultralytics is given as a file, and we as a URI."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.unit.yolo.variants import Change, Set, Variant, both, named, text
from tests.unit.yolo.variants_layout import apple_double, roboflow

WINDOWS = "an archive with back-slashes in its names"


def contents(folder: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix not in {".zip", ".tar", ".tgz", ".xz", ".bz2", ".gz"}:
            yield str(file.relative_to(folder)), file


def zipped(rename: Callable[[str], str] = str) -> Change:
    def change(made: Set) -> None:
        made.write()
        files = list(contents(made.folder))
        with zipfile.ZipFile(made.folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, file in files:
                archive.write(file, rename(name))
                if "\\" in rename(name):  # `write` would make it a slash
                    archive.filelist[-1].filename = rename(name)
        _remove(made, files)

    return change


def tarred(name: str, mode: str, rename: Callable[[str], str] = str) -> Change:
    def change(made: Set) -> None:
        made.write()
        files = list(contents(made.folder))
        with tarfile.open(made.folder / name, f"w:{mode}") as archive:  # type: ignore[call-overload]
            for path, file in files:
                archive.add(file, rename(path))
        _remove(made, files)

    return change


def _remove(made: Set, files: list[tuple[str, Path]]) -> None:
    for _, file in files:
        file.unlink()
    for part in ("images", "labels", "train", "valid"):
        shutil.rmtree(made.folder / part, ignore_errors=True)


def cut(name: str, share: float = 0.5) -> Change:
    def change(made: Set) -> None:
        file = made.folder / name
        file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])

    return change


def changed(name: str) -> Change:
    """Change bytes in the middle."""

    def change(made: Set) -> None:
        file = made.folder / name
        content = bytearray(file.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 64] = bytes(255 - each for each in content[middle : middle + 64])
        file.write_bytes(bytes(content))

    return change


def around(name: str) -> str:
    return f"around/{name}"


VARIANTS = named("archives", [
    Variant("a zip", zipped(), data="a.zip"),
    Variant("a zip with a folder around", zipped(around), data="a.zip"),
    Variant("a zip of Roboflow's", both(roboflow, zipped()), data="a.zip"),
    Variant("a zip made on macOS", both(apple_double, zipped()), data="a.zip"),
    Variant("a zip made on Windows", zipped(lambda name: name.replace("/", "\\")), data="a.zip", differs=WINDOWS),
    Variant("a tar", tarred("a.tar", ""), data="a.tar"),
    Variant("a tar.gz", tarred("a.tar.gz", "gz"), data="a.tar.gz"),
    Variant("a tgz with a folder around", tarred("a.tgz", "gz", around), data="a.tgz"),
    Variant("a tar.xz", tarred("a.tar.xz", "xz"), data="a.tar.xz"),
    Variant("half a zip", both(zipped(), cut("a.zip")), data="a.zip"),
    Variant("a damaged zip", both(zipped(), changed("a.zip")), data="a.zip"),
    Variant("half a tar.gz", both(tarred("a.tar.gz", "gz"), cut("a.tar.gz")), data="a.tar.gz"),
    Variant("a damaged tar.gz", both(tarred("a.tar.gz", "gz"), changed("a.tar.gz")), data="a.tar.gz"),
    Variant("a web page called zip", text("<html>Please log in</html>", "a.zip"), data="a.zip"),
])  # fmt: skip
