import hashlib
import io
import json
import re
import tarfile
from pathlib import Path

import pytest

from devcluster import image_builder, images, oci, paths
from devcluster.containerd import unnamed, writable_folder
from devcluster.errors import ClusterError
from devcluster.image_import import chain_ids
from devcluster.images import IMAGES, Image, hash_inputs, select

ALL = list(IMAGES.values())


def dockerfile(image: Image) -> str:
    return (paths.REPOSITORY / image.inputs[0]).read_text()


def copied(image: Image) -> set[str]:
    lines = re.findall(r"^COPY (.+)$", dockerfile(image), re.MULTILINE)
    return {source for line in lines for source in line.split()[:-1]}


@pytest.mark.parametrize("image", ALL, ids=lambda image: image.name)
def test_everything_an_image_copies_counts_for_its_key(image: Image) -> None:
    assert copied(image) == {*image.inputs[1:], "requirements/uv.txt"}
    for name in image.inputs:
        assert (paths.REPOSITORY / name).exists(), name


@pytest.mark.parametrize("image", ALL, ids=lambda image: image.name)
def test_a_build_sees_what_it_copies(image: Image) -> None:
    allowed = [line[1:] for line in (paths.REPOSITORY / ".dockerignore").read_text().splitlines() if line[:1] == "!"]
    for source in copied(image):
        assert any(Path(source).match(pattern) for pattern in allowed), source


@pytest.mark.parametrize("image", ALL, ids=lambda image: image.name)
def test_images_run_without_root_and_have_a_licence_label(image: Image) -> None:
    text = dockerfile(image)
    assert "\nUSER 65532:65532\n" in text
    licence = "AGPL-3.0-only" if image.name == "yolo" else "Apache-2.0"
    assert f'org.opencontainers.image.licenses="{licence}"' in text
    assert "--require-hashes" in text


def test_sam3_and_yolo_share_their_first_instructions() -> None:
    def instructions(image: Image) -> list[str]:
        return [line for line in dockerfile(image).splitlines() if not line.startswith("#")]

    sam3, yolo = instructions(IMAGES["sam3"]), instructions(IMAGES["yolo"])
    torch = next(i for i, line in enumerate(sam3) if "-r /opt/requirements/torch.txt" in line)
    assert sam3[: torch + 2] == yolo[: torch + 2]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "a.py").write_text("a")
    (tmp_path / "Dockerfile").write_text("FROM x")
    return tmp_path


def test_the_key_follows_names_and_contents(tree: Path) -> None:
    inputs = ("Dockerfile", "package")
    keys = [hash_inputs(tree, inputs)]
    (tree / "package" / "a.py").write_text("b")
    keys.append(hash_inputs(tree, inputs))
    (tree / "package" / "a.py").rename(tree / "package" / "c.py")
    keys.append(hash_inputs(tree, inputs))
    (tree / "Dockerfile").write_text("FROM y")
    keys.append(hash_inputs(tree, inputs))
    assert len(set(keys)) == 4


def test_what_python_caches_does_not_count(tree: Path) -> None:
    before = hash_inputs(tree, ("package",))
    (tree / "package" / "__pycache__").mkdir()
    (tree / "package" / "__pycache__" / "a.pyc").write_text("x")
    assert hash_inputs(tree, ("package",)) == before


def test_an_image_supersedes_its_earlier_states_only() -> None:
    (image,) = select(["sam3"])
    assert image.supersedes("localhost/gpu-relay/sam3:0123456789ab")
    assert not any(image.supersedes(reference) for reference in image.references)
    assert not image.supersedes("localhost/gpu-relay/sam3-other:0123456789ab")


@pytest.mark.parametrize("image", ALL, ids=lambda image: image.name)
def test_what_lies_below_the_sources_does_not_follow_them(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: dict[str, tuple[str, ...]] = {}

    def record(root: Path, inputs: tuple[str, ...]) -> str:
        hashed[str(len(hashed))] = inputs
        return str(len(hashed))

    monkeypatch.setattr(images, "hash_inputs", record)
    (fresh,) = select([image.name])
    assert len({fresh.keyed, fresh.foundation}) == 2
    everything, below = hashed.values()
    assert set(below) < set(everything)
    assert {name for name in below if (paths.REPOSITORY / name).is_dir()} == set()
    assert {name for name in everything if name.endswith(".txt")} <= set(below)


def test_an_unknown_image_is_refused() -> None:
    with pytest.raises(ClusterError, match="no such image: sam2; there are sam3, yolo, adapter, operator"):
        select(["sam2"])


def test_images_held_by_id_alone_are_found() -> None:
    listing = (
        "REF                 TYPE      DIGEST     SIZE    PLATFORMS   LABELS\n"
        "localhost/a:dev     manifest  sha256:1   1.0 GiB linux/amd64 -\n"
        "localhost/a:0123    manifest  sha256:1   1.0 GiB linux/amd64 -\n"
        "sha256:aa           manifest  sha256:1   1.0 GiB linux/amd64 -\n"
        "sha256:bb           manifest  sha256:2   1.0 GiB linux/amd64 -\n"
    )
    assert unnamed(listing) == ["sha256:bb"]
    assert unnamed("REF TYPE DIGEST SIZE PLATFORMS LABELS\n") == []


def test_the_folder_of_a_new_snapshot_is_found() -> None:
    lowest = {"Type": "bind", "Source": "/containerd/snapshots/1/fs", "Target": "", "Options": ["rw", "rbind"]}
    options = [
        "index=off",
        "workdir=/containerd/snapshots/2/work",
        "upperdir=/containerd/snapshots/2/fs",
        "lowerdir=/containerd/snapshots/1/fs",
    ]
    higher = {"Type": "overlay", "Source": "overlay", "Target": "", "Options": options}
    assert writable_folder([lowest]) == Path("/containerd/snapshots/1/fs")
    assert writable_folder([higher]) == Path("/containerd/snapshots/2/fs")


def test_chain_ids_are_those_of_the_oci_specification() -> None:
    first, second, third = ("sha256:" + letter * 64 for letter in "abc")
    two = "sha256:" + hashlib.sha256(f"{first} {second}".encode()).hexdigest()
    three = "sha256:" + hashlib.sha256(f"{two} {third}".encode()).hexdigest()
    assert chain_ids([first, second, third]) == [first, two, three]


def test_a_build_trusts_what_the_machine_trusts(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("SSL_CERT_FILE", "PIP_CERT"):
        monkeypatch.delenv(variable, raising=False)
    assert image_builder._ca_flags() == []
    monkeypatch.setenv("PIP_CERT", "/etc/ssl/ca.pem")
    assert image_builder._ca_flags() == [
        "--volume=/etc/ssl/ca.pem:/run/ca.pem:ro",
        "--build-arg=PIP_CERT=/run/ca.pem",
        "--build-arg=SSL_CERT_FILE=/run/ca.pem",
    ]


def test_the_pause_image_is_a_whole_oci_archive(tmp_path: Path) -> None:
    binary = tmp_path / "pause"
    binary.write_bytes(b"\x7fELF")
    stream = io.BytesIO()
    oci.write_pause(binary, oci.pause_reference(binary), stream)
    with tarfile.open(fileobj=io.BytesIO(stream.getvalue())) as archive:
        content = {member.name: archive.extractfile(member) for member in archive}
    read = {name: file.read() for name, file in content.items() if file}
    for name, data in read.items():
        if name.startswith("blobs/"):
            assert oci.digest_of(data) == name.removeprefix("blobs/").replace("/", ":")
    (image,) = json.loads(read["index.json"])["manifests"]
    assert image["annotations"] == {oci.NAME: oci.pause_reference(binary)}
    manifest = json.loads(read[f"blobs/{image['digest'].replace(':', '/')}"])
    (layer,) = manifest["layers"]
    with tarfile.open(fileobj=io.BytesIO(read[f"blobs/{layer['digest'].replace(':', '/')}"])) as files:
        assert [(file.name, file.mode) for file in files] == [("pause", 0o755)]


def test_a_changed_pause_binary_is_another_image(tmp_path: Path) -> None:
    binary = tmp_path / "pause"
    binary.write_bytes(b"1")
    before = oci.pause_reference(binary)
    binary.write_bytes(b"2")
    assert oci.pause_reference(binary) != before
