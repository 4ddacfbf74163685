"""Makes the folder of wheels that bench.cuda needs on a GPU machine without a network: `make cuda-wheels`."""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from devcluster.paths import REPOSITORY

NAMES = Path(__file__).with_name("wheels.txt")
LOCK = REPOSITORY / "requirements" / "dev.txt"
LIMIT_MIB = 60
MIB = 1 << 20
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def requirements(names: str, lock: str) -> str:
    """Return the lines that pip installs: each name's entry in the lock, or the name's own line.

    Raises:
        ValueError: the lock has no such name.

    """
    lines = [line for line in names.splitlines() if line and not line.startswith("#")]
    return "".join(line + "\n" if "==" in line else _locked(line, lock) for line in lines)


def _locked(name: str, lock: str) -> str:
    entry = re.search(rf"^{re.escape(name)}(\[[^\]]*\])?==.*?(?=^\S|\Z)", lock, re.MULTILINE | re.DOTALL)
    if entry is None:
        raise ValueError(f"{NAMES.name}: {name} is not in {LOCK.name}: remove it, or give it a version and a hash")
    return entry.group(0)


def check_size(folder: Path, limit_mib: int = LIMIT_MIB) -> float:
    """Return the MiB of a folder's wheels.

    Raises:
        ValueError: they have more than the limit.

    """
    sizes = {file.name: file.stat().st_size / MIB for file in folder.glob("*.whl")}
    total = sum(sizes.values())
    if total > limit_mib:
        largest = max(sizes, key=lambda name: sizes[name])
        raise ValueError(f"the wheels have {total:.1f} MiB, {limit_mib} are allowed; the largest is {largest}")
    return total


def download(folder: Path, python: str) -> None:
    """Download the wheels for a Python version, such as 3.12, into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(requirements(NAMES.read_text(encoding="utf-8"), LOCK.read_text(encoding="utf-8")))
        file.flush()
        platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
        for_python = ["--implementation", "cp", "--python-version", python, *platforms]
        words = ["--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
        subprocess.run(
            ["pip", "download", *words, *for_python, "--dest", folder, "--requirement", file.name], check=True
        )


def main() -> None:
    """Download, and exit with a sentence where the wheels are too large."""
    parser = argparse.ArgumentParser(prog="python -m bench.cuda.wheels", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="3.12", help="the GPU machine's Python version (default %(default)s)")
    options = parser.parse_args()
    download(options.folder, options.python)
    try:
        size = check_size(options.folder)
    except ValueError as error:
        sys.exit(str(error))
    print(f"{size:.1f} MiB of wheels for Python {options.python} in {options.folder}")


if __name__ == "__main__":
    main()
