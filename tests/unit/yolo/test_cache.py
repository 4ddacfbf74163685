import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.unit.yolo.test_archive import tar_of
from yolo_trainer.errors import ConfigInvalidError, DatasetInvalidError, TrainerError
from yolo_trainer.inputs.cache import Cache
from yolo_trainer.inputs.dataset_locator import find_dataset
from yolo_trainer.job.spec import DatasetReference
from yolo_trainer.storage import transfer


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PAUSE_SECONDS", 0.0)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The URL of a web server over the test's folder."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def cache(tmp_path: Path, uid: str = "u1") -> Cache:
    return Cache(tmp_path / "cache", uid, 1)


def packed(tmp_path: Path, content: bytes = b"x") -> tuple[str, str]:
    """Return the URI and the sha256 of a small data set."""
    file = tar_of(tmp_path / "digits.tgz", ("digits/data.yaml", b"train: images"), ("digits/1.txt", content))
    return file.as_uri(), hashlib.sha256(file.read_bytes()).hexdigest()


def wanted(uri: str, sha256: str | None = None) -> DatasetReference:
    return DatasetReference(uri=uri, sha256=sha256)


def test_a_data_set_is_fetched_once(tmp_path: Path) -> None:
    uri, sha256 = packed(tmp_path)

    first = cache(tmp_path).dataset(wanted(uri, sha256))
    (tmp_path / "digits.tgz").unlink()
    second = cache(tmp_path, "another job").dataset(wanted(uri, sha256.upper()))

    assert first.transferred > 0
    assert (second.path, second.transferred) == (first.path, 0)
    assert (first.path / "digits" / "1.txt").read_bytes() == b"x"


def test_without_a_sha256_each_job_fetches_for_itself(tmp_path: Path) -> None:
    uri, _ = packed(tmp_path)
    first = cache(tmp_path).dataset(wanted(uri)).path
    packed(tmp_path, b"changed")

    assert cache(tmp_path).dataset(wanted(uri)).path == first, "all attempts of a job see the same"
    other = cache(tmp_path, "u2").dataset(wanted(uri)).path
    assert (other / "digits" / "1.txt").read_bytes() == b"changed"


def test_another_file_than_the_job_means_is_refused_and_not_kept(tmp_path: Path) -> None:
    uri, sha256 = packed(tmp_path)

    with pytest.raises(DatasetInvalidError, match=f"has the sha256 {sha256}.*correct dataset.sha256"):
        cache(tmp_path).dataset(wanted(uri, "0" * 64))

    assert not [found for found in (tmp_path / "cache").rglob("*") if found.is_file()]


def test_a_broken_archive_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "digits.zip").write_bytes(b"not yet uploaded")

    with pytest.raises(DatasetInvalidError, match="is no archive"):
        cache(tmp_path).dataset(wanted((tmp_path / "digits.zip").as_uri()))

    assert not [found for found in (tmp_path / "cache").rglob("*") if found.is_file()]


def test_what_a_killed_attempt_left_is_cleared(tmp_path: Path) -> None:
    uri, _ = packed(tmp_path)
    place = cache(tmp_path).dataset(wanted(uri)).path
    place.rename(place.with_name(f".{place.name}-{hashlib.sha256(b'u1').hexdigest()[:8]}"))

    again = cache(tmp_path).dataset(wanted(uri))

    assert again.transferred > 0
    assert [found.name for found in place.parent.iterdir()] == [place.name]


def test_a_folder_is_copied(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "images" / "train").mkdir(parents=True)
    (source / "images" / "train" / "1.png").write_bytes(b"12345")

    fetched = cache(tmp_path).dataset(wanted(f"{source.as_uri()}/"))

    assert fetched.transferred == 5
    assert (fetched.path / "images" / "train" / "1.png").read_bytes() == b"12345"


def test_an_archive_comes_over_http(tmp_path: Path, served: str) -> None:
    _, sha256 = packed(tmp_path)

    fetched = cache(tmp_path).dataset(wanted(f"{served}/digits.tgz", sha256))

    assert (fetched.path / "digits" / "1.txt").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("address", "kind", "problem"),
    [
        ("{served}/missing.zip", DatasetInvalidError, "does not exist: check the address"),
        ("{served}/folder/", DatasetInvalidError, "a web server has none: give an archive"),
        ("http://127.0.0.1:1/d.zip?signature=secret", TrainerError, "could not be reached in 3 tries"),
        ("file:///nowhere/d.zip", DatasetInvalidError, "does not exist"),
        ("file:///nowhere/", DatasetInvalidError, "does not exist"),
    ],
)
def test_a_uri_that_cannot_be_read_is_explained(
    tmp_path: Path, served: str, address: str, kind: type[TrainerError], problem: str
) -> None:
    with pytest.raises(TrainerError, match=problem) as caught:
        cache(tmp_path).dataset(wanted(address.format(served=served)))

    assert type(caught.value) is kind
    assert "secret" not in str(caught.value)


def test_weights_come_with_their_digest(tmp_path: Path) -> None:
    file = tmp_path / "my.pt"
    file.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()

    fetched = cache(tmp_path).file(f"{file.as_uri()}#sha256={digest}", "model")

    assert (fetched.path.name, fetched.path.read_bytes()) == ("my.pt", b"weights")
    for fragment, problem in ((f"sha256={'0' * 64}", "correct the digits"), ("md5=1", "must be '#sha256='")):
        with pytest.raises(ConfigInvalidError, match=problem):
            cache(tmp_path).file(f"{file.as_uri()}#{fragment}", "model")
    with pytest.raises(ConfigInvalidError, match=r"training\.args\.pretrained is ftp://h/w.pt: use https"):
        cache(tmp_path).file("ftp://h/w.pt", "training.args.pretrained")


def test_a_cache_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    uri, _ = packed(tmp_path)
    (tmp_path / "file").touch()

    with pytest.raises(TrainerError, match="cannot be kept in the cache") as caught:
        Cache(tmp_path / "file", "u1", 1).dataset(wanted(uri))

    assert type(caught.value) is TrainerError


def test_the_data_set_is_found_inside_what_was_fetched(tmp_path: Path) -> None:
    inner = tmp_path / "around" / "digits"
    inner.mkdir(parents=True)
    (inner / "data.yaml").touch()

    assert find_dataset(tmp_path, None, "detect") == inner
    assert find_dataset(tmp_path, Path("around/digits"), "detect") == inner
    with pytest.raises(DatasetInvalidError, match=r"dataset\.path is elsewhere, .* it has around/"):
        find_dataset(tmp_path, Path("elsewhere"), "detect")


def test_a_description_may_have_another_name_if_it_is_the_only_one(tmp_path: Path) -> None:
    (tmp_path / "coco8.yaml").write_text("train: images/train")
    (tmp_path / "other.yaml").write_text("a: b")
    assert find_dataset(tmp_path, None, "detect") == tmp_path / "coco8.yaml"

    (tmp_path / "coco9.yaml").write_text("train: images/train")
    with pytest.raises(DatasetInvalidError, match=r"coco8\.yaml, coco9\.yaml: say with dataset\.path"):
        find_dataset(tmp_path, None, "detect")


def test_classification_has_no_description(tmp_path: Path) -> None:
    (tmp_path / "set" / "train" / "cat").mkdir(parents=True)

    assert find_dataset(tmp_path, None, "classify") == tmp_path / "set"
    with pytest.raises(DatasetInvalidError, match=r"holds no data\.yaml at its top: it has set/"):
        find_dataset(tmp_path, None, "detect")
