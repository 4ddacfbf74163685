"""Mount paths without a mount namespace: the places where volumes lie, written wherever a mount path occurs."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# A path begins at the start of a path, or after `file://`, and ends at the end of a name.
_BEFORE = r"(?:(?<![\w./\-})~*])|(?<=file://))"
_AFTER = r"(?![\w-]|\.\w)"


@dataclass(frozen=True)
class Mount:
    """One mount of one container. `place` is its stand-in for `path`, a link to what may be shared at `real`."""

    path: str
    place: Path
    real: Path
    read_only: bool = False


class Mounts:
    """The mounts of one container. Paths below `keep` are the node's own, and never taken for a container's."""

    def __init__(self, mounts: Iterable[Mount], keep: Iterable[Path] = ()) -> None:
        self.all = tuple(mounts)
        self._inward = {str(path): str(path) for path in keep}
        self._inward |= {mount.path.rstrip("/"): str(mount.place) for mount in self.all}
        # Of two mounts of one folder the writable one comes last and wins: what was written was written through it.
        shared = sorted(self.all, key=lambda mount: not mount.read_only)
        self._outward = {str(mount.real): mount.path for mount in shared}
        self._outward |= {str(mount.place): mount.path for mount in self.all}

    def to_places(self, text: str) -> str:
        """Replace mount paths by the places where the volumes lie."""
        return _replace(text, self._inward, _BEFORE)

    def to_paths(self, text: str) -> str:
        """Replace places by mount paths: what the container would have said on a kubelet's node."""
        return _replace(text, self._outward, "")


def _replace(text: str, table: dict[str, str], before: str) -> str:
    if not table:
        return text
    longest_first = sorted(table, key=len, reverse=True)
    pattern = f"{before}({'|'.join(map(re.escape, longest_first))}){_AFTER}"
    return re.sub(pattern, lambda match: table[match[1]], text)
