"""Check the length of modules: `python -m tools.module_length` prints those of 300 lines or more."""

import sys
from collections.abc import Iterable
from pathlib import Path

from tools.files import list_files

LIMIT = 300
"""A module has fewer lines than this, comments and empty lines included."""

EXCEPTIONS: dict[str, str] = {}
"""Path of a longer module, and the reason why it cannot be split."""


def check(root: Path, paths: Iterable[str]) -> list[str]:
    """Return a sentence for each of these modules below a folder that is too long."""
    lengths = {path: len((root / path).read_text(encoding="utf-8").splitlines()) for path in paths}
    return [
        f"{path}: {length} lines: split it by purpose into modules of fewer than {LIMIT}"
        for path, length in lengths.items()
        if length >= LIMIT
    ]


def main() -> int:
    """Print the modules that are too long, but for EXCEPTIONS; return 1 if there is any."""
    root = Path(__file__).parents[1]
    modules = [path for path in list_files(root) if path.endswith((".js", ".py")) and path not in EXCEPTIONS]
    sentences = check(root, modules)
    for sentence in sentences:
        print(sentence)
    return 1 if sentences else 0


if __name__ == "__main__":
    sys.exit(main())
