import bz2
import contextlib
import gzip
import lzma
import random
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from yolo_trainer.errors import DatasetInvalidError
from yolo_trainer.storage.archive import unpack

LIMIT = 10 * 2**20


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


def tar_of(file: Path, *entries: tuple[str, bytes] | tarfile.TarInfo, compression: str = "gz") -> Path:
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry)
                continue
            info = tarfile.TarInfo(entry[0])
            info.size = len(entry[1])
            tar.addfile(info, BytesIO(entry[1]))
    file.write_bytes(COMPRESSIONS[compression](stream.getvalue()))
    return file


def zip_of(file: Path, *entries: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in entries:
            packed.writestr(name, content)
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "unpacked"
    place.mkdir()
    return place


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_tar_is_unpacked_whatever_it_is_called(tmp_path: Path, folder: Path, compression: str) -> None:
    entries = ("d/data.yaml", b"names"), ("d/images/1.png", b"12345")
    file = tar_of(tmp_path / "data", *entries, compression=compression)

    assert unpack(file, folder, LIMIT) == 10
    assert (folder / "d" / "images" / "1.png").read_bytes() == b"12345"


def test_a_zip_is_unpacked_without_what_macos_adds(tmp_path: Path, folder: Path) -> None:
    file = zip_of(tmp_path / "data.zip", ("d/1.png", b"12"), ("__MACOSX/d/._1.png", b"x"), ("d/.DS_Store", b"x"))

    unpack(file, folder, LIMIT)

    assert [str(found.relative_to(folder)) for found in folder.rglob("*") if found.is_file()] == ["d/1.png"]


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def device(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = tarfile.CHRTYPE
    return info


def zip_with_link(file: Path) -> Path:
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr(info, "/etc/passwd")
    return file


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda file: tar_of(file, ("../evil", b"x")), "the name ../evil leads out of its folder"),
        (lambda file: tar_of(file, ("/tmp/evil", b"x")), "the name /tmp/evil leads out"),
        (lambda file: tar_of(file, ("a/../../evil", b"x")), "leads out of its folder"),
        (lambda file: tar_of(file, link("l", "/etc/passwd")), "not safe to unpack"),
        (lambda file: tar_of(file, link("l", "../../etc/passwd")), "not safe to unpack"),
        (lambda file: tar_of(file, link("l", "../outside", tarfile.LNKTYPE)), "not safe to unpack"),
        (lambda file: tar_of(file, device("null")), "not safe to unpack"),
        (lambda file: zip_of(file, ("../evil", b"x")), "the name ../evil leads out"),
        (lambda file: zip_of(file, ("..\\evil", b"x")), "leads out"),
        (zip_with_link, "holds the link link"),
    ],
)
def test_nothing_lands_outside(tmp_path: Path, folder: Path, make: Callable[[Path], Path], problem: str) -> None:
    file = make(tmp_path / "data")

    with pytest.raises(DatasetInvalidError) as caught:
        unpack(file, folder, LIMIT)

    assert problem in str(caught.value)
    assert not (tmp_path / "evil").exists()
    assert not list(folder.iterdir())


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_an_archive_that_swells_is_stopped_at_the_limit(
    tmp_path: Path, folder: Path, make: Callable[..., Path]
) -> None:
    file = make(tmp_path / "bomb", *((f"{number}", bytes(2**20)) for number in range(12)))
    assert file.stat().st_size < 2**20

    with pytest.raises(DatasetInvalidError, match="DATASET_LIMIT_GIB"):
        unpack(file, folder, LIMIT)

    assert sum(found.stat().st_size for found in folder.iterdir()) <= LIMIT


def test_one_that_the_volume_has_no_room_for_is_refused(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = zip_of(tmp_path / "data.zip", ("1", bytes(2**20)))
    usage = shutil.disk_usage(folder)._replace(free=2**19)
    monkeypatch.setattr("yolo_trainer.storage.archive.shutil.disk_usage", lambda _: usage)

    with pytest.raises(DatasetInvalidError, match="give the cache a larger one"):
        unpack(file, folder, LIMIT)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"<html>Please log in</html>", "is no archive that can be read"), (b"", "is no archive that can be read")],
)
def test_what_is_no_archive_is_said(tmp_path: Path, folder: Path, content: bytes, problem: str) -> None:
    (tmp_path / "data.zip").write_bytes(content)

    with pytest.raises(DatasetInvalidError, match=problem):
        unpack(tmp_path / "data.zip", folder, LIMIT)


def test_names_made_on_windows_are_folders(tmp_path: Path, folder: Path) -> None:
    file = zip_of(
        tmp_path / "data.zip", ("d\\images\\1.png", b"12"), ("d\\empty\\", b""), ("__MACOSX\\d\\._1.png", b"x")
    )
    with zipfile.ZipFile(file) as packed:
        assert "d\\images\\1.png" in packed.namelist()

    unpack(file, folder, LIMIT)

    assert (folder / "d" / "images" / "1.png").read_bytes() == b"12"
    assert not (folder / "__MACOSX").exists()


def test_links_inside_of_a_tar_are_kept(tmp_path: Path, folder: Path) -> None:
    entries = link("d/alias.png", "images/1.png"), link("d/same.png", "d/images/1.png", tarfile.LNKTYPE)
    file = tar_of(tmp_path / "data.tgz", *entries, link("d/train", "images"), ("d/images/1.png", b"12"))

    unpack(file, folder, LIMIT)

    for name in ("alias.png", "same.png", "train/1.png"):
        assert (folder / "d" / name).read_bytes() == b"12"


@pytest.mark.parametrize(
    "entries",
    [
        [link("a", "b/../.."), link("b", "c/d"), ("c/d/1", b"x")],
        [link("sub/d", "."), link("a", "sub/d/../.."), ("sub/1", b"x")],
        [link("a", "."), ("a/evil", b"x"), link("a", "/")],
        [link("a", ".."), ("a/evil", b"x")],
        [link("d", "c"), link("d/e", ".."), link("c", "x/y"), ("x/y/1", b"x")],
    ],
)
def test_links_that_lead_out_together_are_refused(tmp_path: Path, folder: Path, entries: list[Any]) -> None:
    file = tar_of(tmp_path / "data.tgz", *entries)

    with contextlib.suppress(DatasetInvalidError):
        unpack(file, folder, LIMIT)

    assert not (tmp_path / "evil").exists()
    inside = folder.resolve()
    assert all(found.resolve().is_relative_to(inside) for found in folder.rglob("*"))


def test_a_link_to_nothing_is_damage(tmp_path: Path, folder: Path) -> None:
    file = tar_of(tmp_path / "data.tar", link("a", "gone", tarfile.LNKTYPE))

    with pytest.raises(DatasetInvalidError, match="a is a link to gone, which is missing"):
        unpack(file, folder, LIMIT)


def test_no_filter_of_tarfile_is_needed(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first releases of Python 3.11 have neither filters nor their errors."""
    for name in ("data_filter", "tar_filter", "fully_trusted_filter", "FilterError", "OutsideDestinationError"):
        monkeypatch.delattr(tarfile, name)
    monkeypatch.setattr(tarfile.TarFile, "extract", None)
    monkeypatch.setattr(tarfile.TarFile, "extractall", None)

    unpack(tar_of(tmp_path / "data", ("1.png", b"12")), folder, LIMIT)
    with pytest.raises(DatasetInvalidError, match="not safe to unpack"):
        unpack(tar_of(tmp_path / "data", link("l", "/etc/passwd")), folder, LIMIT)

    assert (folder / "1.png").read_bytes() == b"12"


@pytest.mark.parametrize("make", [tar_of, zip_of])
@pytest.mark.parametrize("entries", [[("a", b"1"), ("a/b", b"2")], [("a/b", b"1"), ("a", b"2")], [("n" * 300, b"1")]])
def test_names_that_cannot_be_are_the_users_to_change(
    tmp_path: Path, folder: Path, make: Callable[..., Path], entries: list[tuple[str, bytes]]
) -> None:
    with pytest.raises(DatasetInvalidError, match=r"mine\.zip cannot be unpacked: .+ pack it again"):
        unpack(make(tmp_path / "data", *entries), folder, LIMIT, "mine.zip")


def damaged(content: bytes, at: float) -> bytes:
    changed = bytearray(content)
    place = int(len(content) * at)
    changed[place : place + 16] = bytes(255 - byte for byte in changed[place : place + 16])
    return bytes(changed)


@pytest.mark.parametrize("at", [0.1, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("compression", ["gz", "bz2", "xz", "zip"])
@pytest.mark.parametrize("harm", [damaged, lambda content, at: content[: int(len(content) * at)]], ids=["bits", "cut"])
def test_a_damaged_archive_is_named_as_the_user_does(
    tmp_path: Path, folder: Path, compression: str, harm: Callable[[bytes, float], bytes], at: float
) -> None:
    entries = [(f"{number}.bin", random.Random(number).randbytes(3000)) for number in range(20)]
    file = tmp_path / ".temporary"
    whole = zip_of(file, *entries) if compression == "zip" else tar_of(file, *entries, compression=compression)
    whole.write_bytes(harm(whole.read_bytes(), at))

    with pytest.raises(DatasetInvalidError, match=r"^digits\.tgz is damaged") as caught:
        unpack(file, folder, LIMIT, "digits.tgz")

    assert "temporary" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tar_that_was_cut_between_two_files_is_damaged(tmp_path: Path, folder: Path) -> None:
    file = tar_of(tmp_path / "data.tar", *((f"{number}", bytes(512)) for number in range(4)), compression="none")
    file.write_bytes(file.read_bytes()[: 2 * 1024])

    with pytest.raises(DatasetInvalidError, match=r"data\.tar is damaged or cut off \(unexpected end of data\)"):
        unpack(file, folder, LIMIT)


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_half_an_archive_is_said_to_be_damaged(tmp_path: Path, folder: Path, make: Callable[..., Path]) -> None:
    file = make(tmp_path / "data", ("1.bin", bytes(range(256)) * 400))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(DatasetInvalidError, match="data is"):
        unpack(file, folder, LIMIT)
