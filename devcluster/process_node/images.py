"""Which program an image stands for on a machine without images."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devcluster.paths import REPOSITORY

_SOURCES = ("operator", "images/sam3", "images/yolo", "images/adapter", "images/common")


@dataclass(frozen=True)
class Image:
    """What an image brings along. `gpu`: it declares NVIDIA_VISIBLE_DEVICES, so every container of it sees the GPU."""

    entrypoint: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    gpu: bool = False


def _ours(module: str, *, gpu: bool = True) -> Image:
    path = ":".join(str(REPOSITORY / source) for source in _SOURCES)
    return Image(("python", "-m", module), {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}, gpu)


_IMAGES = {
    "gpu-relay/operator": _ours("gpu_relay", gpu=False),
    "gpu-relay/sam3": _ours("sam3_server"),
    "gpu-relay/yolo": _ours("yolo_trainer"),
    "gpu-relay/adapter": _ours("relay_adapter"),
}


def find(reference: str) -> Image:
    """Look an image up by its name, whatever its registry, tag and digest; an unknown one brings nothing."""
    name = reference.partition("@")[0]
    head, _, last = name.rpartition("/")
    segments = [*head.split("/"), last.partition(":")[0]]
    return _IMAGES.get("/".join(segments[-2:]), Image())


def search_path(path: str) -> str:
    """Return a PATH on which `python` is the running one."""
    return f"{Path(sys.executable).parent}:{path}"
