"""Mount paths are translated where they are paths, and nowhere else."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devcluster.process_node.mounts import Mount, Mounts

DATA = Mount("/data", Path("/run/pods/ab/c/mounts/data"), Path("/srv/sets"), read_only=True)
OUTPUT = Mount("/output", Path("/run/pods/ab/c/mounts/output"), Path("/srv/sets"))
TMP = Mount("/tmp", Path("/run/pods/ab/c/mounts/tmp"), Path("/run/pods/ab/volumes/tmp"))
MOUNTS = Mounts([DATA, OUTPUT, TMP], keep=[Path("/run"), Path("/tmp/checkout")])
PLACE = "/run/pods/ab/c/mounts/data"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data", PLACE),
        ("/data/", f"{PLACE}/"),
        ("/data/digits/data.yaml", f"{PLACE}/digits/data.yaml"),
        ("--root=/data", f"--root={PLACE}"),
        ("/data:/data/more", f"{PLACE}:{PLACE}/more"),
        ('{"path": "/data/digits"}', f'{{"path": "{PLACE}/digits"}}'),
        ("cp a /data; echo 'b' > /data/b", f"cp a {PLACE}; echo 'b' > {PLACE}/b"),
        ("It lies in /data.", f"It lies in {PLACE}."),
        ("file:///data/x", f"file://{PLACE}/x"),
        # these are other paths
        ("/data.yaml", "/data.yaml"),
        ("/database", "/database"),
        ("/data-2", "/data-2"),
        ("/var/data", "/var/data"),
        ("../data", "../data"),
        ("http://host/data", "http://host/data"),
        ("$HOME/data ${HOME}/data $(HOME)/data ~/data", "$HOME/data ${HOME}/data $(HOME)/data ~/data"),
        # the node's own paths stay, though a mount path begins them
        ("/tmp/checkout/x", "/tmp/checkout/x"),
        ("/tmp/x", "/run/pods/ab/c/mounts/tmp/x"),
    ],
)
def test_to_places(text: str, expected: str) -> None:
    assert MOUNTS.to_places(text) == expected
    assert MOUNTS.to_places(expected) == expected, "translating twice changes nothing"


def test_the_longest_mount_path_wins() -> None:
    inner = Mount("/data/cache", Path("/run/cache"), Path("/run/cache"))
    assert Mounts([DATA, inner]).to_places("/data/cache/a /data/a") == f"/run/cache/a {PLACE}/a"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"best": "/run/pods/ab/c/mounts/output/best.pt"}', '{"best": "/output/best.pt"}'),
        ("/run/pods/ab/c/mounts/data/a", "/data/a"),
        ("/srv/sets/best.pt", "/output/best.pt"),
        ("/srv/setsandmore", "/srv/setsandmore"),
    ],
)
def test_to_paths(text: str, expected: str) -> None:
    assert MOUNTS.to_paths(text) == expected


def test_without_mounts_nothing_changes() -> None:
    assert Mounts([]).to_places("/data") == Mounts([]).to_paths("/data") == "/data"


@given(st.lists(st.sampled_from(["/data", "/output", "/tmp", "x", "/x", ".", " ", "=", "'", "file://"]), max_size=12))
def test_there_and_back(parts: list[str]) -> None:
    text = "".join(parts)
    assert MOUNTS.to_paths(MOUNTS.to_places(text)) == text
