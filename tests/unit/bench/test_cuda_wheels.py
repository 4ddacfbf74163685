"""The wheels that bench.cuda takes to a GPU machine."""

from pathlib import Path

import pytest

from bench.cuda.wheels import LOCK, MIB, NAMES, check_size, requirements

LOCKED = """\
fast==1.2 \\
    --hash=sha256:aa
    # via x
faster[extra]==3 ; python_version < '4' \\
    --hash=sha256:bb
"""


def test_a_name_has_the_version_and_hashes_of_the_lock() -> None:
    assert requirements("# words\nfaster\nfast\n", LOCKED) == (
        "faster[extra]==3 ; python_version < '4' \\\n    --hash=sha256:bb\n"
        "fast==1.2 \\\n    --hash=sha256:aa\n    # via x\n"
    )


def test_a_line_with_a_version_stands_for_itself() -> None:
    assert requirements("fast==1.0 --hash=sha256:cc\n", LOCKED) == "fast==1.0 --hash=sha256:cc\n"


def test_a_name_that_is_not_locked_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"slow is not in dev\.txt"):
        requirements("slow\n", LOCKED)


def test_every_wheel_is_pinned_with_a_hash() -> None:
    names = [line for line in NAMES.read_text().splitlines() if line and not line.startswith("#")]
    pinned = requirements(NAMES.read_text(), LOCK.read_text())
    assert pinned.count("==") >= len(names)
    assert all("--hash=sha256:" in requirements(name, LOCK.read_text()) for name in names)


def test_wheels_beyond_the_limit_are_an_error_that_names_the_largest(tmp_path: Path) -> None:
    (tmp_path / "large.whl").write_bytes(bytes(MIB))
    (tmp_path / "small.whl").write_bytes(bytes(MIB // 2))
    assert check_size(tmp_path, 2) == 1.5
    with pytest.raises(ValueError, match=r"the wheels have 1\.5 MiB, 1 are allowed; the largest is large\.whl"):
        check_size(tmp_path, 1)
