import errno
import shutil
from pathlib import Path

import pytest

from yolo_trainer.errors import ConfigInvalidError
from yolo_trainer.storage.volumes import (
    BYTES_PER_PARAMETER,
    MIB,
    PLOTS_MIB,
    check_room,
    full_volume_problem,
    mount_point,
)

SMALL, LARGE = 2_600_000, 10**15


def test_a_model_whose_checkpoints_do_not_fit_is_refused(tmp_path: Path) -> None:
    check_room(tmp_path, SMALL)

    with pytest.raises(ConfigInvalidError) as caught:
        check_room(tmp_path, LARGE)

    said = str(caught.value)
    assert f"output.path {tmp_path}: the volume at {mount_point(tmp_path)} has " in said
    assert (
        f"a model with 1,000,000,000,000,000 parameters need {LARGE * BYTES_PER_PARAMETER / MIB + PLOTS_MIB:,.0f} MiB"
        in said
    )


def test_the_files_of_an_earlier_attempt_count_as_free_space(tmp_path: Path) -> None:
    more = shutil.disk_usage(tmp_path).free * 2
    parameters = more // BYTES_PER_PARAMETER
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(ConfigInvalidError):
        check_room(tmp_path, parameters, None, (work,))

    with (work / "last.pt").open("wb") as file:
        file.truncate(more)  # a hole: it takes no room on the disk

    check_room(tmp_path, parameters, None, (work,))


def test_sgd_needs_less(tmp_path: Path) -> None:
    parameters = shutil.disk_usage(tmp_path).free // 100

    check_room(tmp_path, parameters, "SGD")
    with pytest.raises(ConfigInvalidError):
        check_room(tmp_path, parameters, "auto")


def test_a_full_volume_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as full, Path("/dev/full").open("wb", buffering=0) as file:
        file.write(b"x" * MIB)

    said = full_volume_problem(full.value, tmp_path / "output")
    assert said is not None
    assert said.startswith(f"{tmp_path}/output could not be written: the volume is full. The volume at ")
    assert f"The volume at {mount_point(tmp_path)} has " in said


def test_a_quota_and_a_named_file_have_messages_of_their_own(tmp_path: Path) -> None:
    error = OSError(errno.EDQUOT, "Disk quota exceeded", str(tmp_path / "best.pt"))

    said = full_volume_problem(error, tmp_path / "output")
    assert said is not None
    assert said.startswith(f"{tmp_path}/best.pt could not be written: the quota is used up.")


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "Permission denied"), ValueError("No space left on device")])
def test_another_error_is_no_full_volume(tmp_path: Path, error: Exception) -> None:
    assert full_volume_problem(error, tmp_path) is None


def test_a_volume_is_where_it_is_mounted() -> None:
    assert mount_point(Path("/proc/self/no/such/file")) == Path("/proc")
    assert mount_point(Path("/")) == Path("/")
