import pytest

from gpu_memory import GpuMemory, GpuUnavailable
from yolo_trainer.errors import GpuMemoryUnavailableError, WrongGpuError
from yolo_trainer.job.spec import Gpu
from yolo_trainer.training.preflight import check_gpu

UUID = "GPU-5f0c"


def gpu(free_mib: int, uuid: str = UUID) -> GpuMemory:
    return GpuMemory(
        uuid=uuid, name="Tesla T4", total_mib=15360, reserved_mib=450, used_mib=14910 - free_mib, free_mib=free_mib
    )


def wanted(memory_mib: int, uuid: str | None = UUID) -> Gpu:
    return Gpu.model_validate({"uuid": uuid, "memoryMiB": memory_mib})


@pytest.mark.parametrize("free", [10240, 14910])
def test_enough_memory_on_the_right_gpu_passes(free: int) -> None:
    check_gpu(wanted(10240), gpu(free))


def test_the_uuid_may_be_written_in_any_case() -> None:
    check_gpu(wanted(1, UUID.upper()), gpu(1))


def test_one_mib_short_is_refused_with_figures() -> None:
    with pytest.raises(GpuMemoryUnavailableError) as caught:
        check_gpu(wanted(10240), gpu(10239))

    assert "10239 of 15360 MiB are free on Tesla T4" in str(caught.value)
    assert "needs 10240 MiB, 1 MiB more" in str(caught.value)


def test_another_gpu_is_refused_even_with_free_memory() -> None:
    with pytest.raises(WrongGpuError, match="given GPU-5f0c, but this container sees GPU-other"):
        check_gpu(wanted(1), gpu(14000, "GPU-other"))


def test_no_gpu_is_wrong_for_a_job_that_was_given_one() -> None:
    with pytest.raises(WrongGpuError, match="sees no GPU: no driver"):
        check_gpu(wanted(1), GpuUnavailable("no driver"))


def test_no_gpu_is_right_for_a_job_that_was_given_none() -> None:
    check_gpu(wanted(10240, None), GpuUnavailable("no driver"))


def test_memory_is_checked_for_a_job_that_was_given_none() -> None:
    with pytest.raises(GpuMemoryUnavailableError):
        check_gpu(wanted(10240, None), gpu(100))
