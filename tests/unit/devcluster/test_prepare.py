"""What a cluster builds before its first start."""

import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from devcluster import Cluster, ClusterError, binaries, packages, versions

KUBELET = (*versions.CONTROL_PLANE, *versions.NODE)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Install nothing, and note which packages' programs were asked for."""
    asked: list[str] = []
    monkeypatch.setattr(packages, "ensure", lambda tools, cni: asked.extend(tools))
    return asked


def test_images_are_built_while_programs_are(monkeypatch: pytest.MonkeyPatch, installed: list[str]) -> None:
    both = threading.Barrier(2)

    def build(names: Iterable[str]) -> dict[str, Path]:
        both.wait(10)
        return {name: Path(name) for name in names}

    monkeypatch.setattr(binaries, "ensure", build)
    monkeypatch.setattr(Cluster, "build_images", lambda _, names: build(names))
    assert Cluster("kubelet").prepare(["sam3"]) == {name: Path(name) for name in KUBELET}
    assert "containerd" in installed
    assert "buildah" in installed


def test_an_image_that_cannot_be_built_ends_the_preparation(
    monkeypatch: pytest.MonkeyPatch, installed: list[str]
) -> None:
    def fail(_: Cluster, names: Iterable[str]) -> None:
        raise ClusterError(f"image {next(iter(names))} failed")

    monkeypatch.setattr(binaries, "ensure", lambda _: {})
    monkeypatch.setattr(Cluster, "build_images", fail)
    with pytest.raises(ClusterError, match="image sam3 failed"):
        Cluster("kubelet").prepare(["sam3"])


@pytest.mark.parametrize("node", ["none", "process"])
def test_a_node_without_containers_needs_neither_images_nor_packages(
    monkeypatch: pytest.MonkeyPatch, installed: list[str], node: str
) -> None:
    monkeypatch.setattr(binaries, "ensure", dict.fromkeys)
    monkeypatch.delattr(Cluster, "build_images")
    assert tuple(Cluster(node).prepare(["sam3"])) == versions.CONTROL_PLANE
    assert not installed
