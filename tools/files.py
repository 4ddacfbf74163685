"""The files of the repository."""

import subprocess
from collections.abc import Iterable
from pathlib import Path


def list_files(root: Path, below: Iterable[str] = ()) -> list[str]:
    """Return the files that git tracks or would add, as paths below the repository's folder."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *below]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted({path for path in listed if (root / path).is_file()})
