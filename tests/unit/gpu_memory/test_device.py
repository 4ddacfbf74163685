"""The device a process computes on."""

import os
import re
from pathlib import Path

import pytest
import torch

import gpu_memory
from gpu_memory import device as device_module

no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.fixture
def simulated(ledger: gpu_memory.Ledger, monkeypatch: pytest.MonkeyPatch) -> gpu_memory.Device:
    monkeypatch.setenv("GPU_RELAY_SIMULATED_GPU", str(ledger.path))
    return gpu_memory.open_device()


def test_simulated_device(simulated: gpu_memory.Device, ledger: gpu_memory.Ledger) -> None:
    assert (simulated.kind, simulated.torch_device) == ("simulated", "cpu")
    with simulated.reserve(9000) as reservation, simulated.reserve(1000):
        assert reservation.mib == 9000
        assert simulated.allocated_mib() == ledger.used_mib == 10000
    assert simulated.allocated_mib() == ledger.used_mib == 0
    assert simulated.peak_mib() == 10000


def test_a_refused_reservation_holds_nothing(simulated: gpu_memory.Device, ledger: gpu_memory.Ledger) -> None:
    with pytest.raises(torch.OutOfMemoryError), simulated.reserve(15000):
        pass
    assert simulated.allocated_mib() == simulated.peak_mib() == ledger.used_mib == 0


def test_a_failing_block_gives_back(simulated: gpu_memory.Device, ledger: gpu_memory.Ledger) -> None:
    with pytest.raises(KeyError), simulated.reserve(100):
        raise KeyError
    assert simulated.allocated_mib() == ledger.used_mib == 0


def test_a_named_ledger_that_is_missing_is_an_error_not_a_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GPU_RELAY_SIMULATED_GPU", str(tmp_path))
    with pytest.raises(gpu_memory.GpuUnavailable, match=re.escape(f"create-ledger {tmp_path}")):
        gpu_memory.open_device()


@no_cuda
def test_cpu_where_there_is_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPU_RELAY_SIMULATED_GPU", raising=False)
    device = gpu_memory.open_device()
    assert (device.kind, device.torch_device) == ("cpu", "cpu")
    with device.reserve(1 << 30) as reservation:
        assert reservation.mib == 1 << 30
    assert device.allocated_mib() == device.peak_mib() == 0


@no_cuda
def test_a_gpu_that_pytorch_cannot_use_is_an_error_not_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPU_RELAY_SIMULATED_GPU", raising=False)
    monkeypatch.setattr(device_module, "read", lambda: gpu_memory.GpuMemory("GPU-1", "Tesla T4", 15360, 450, 0, 14910))
    with pytest.raises(gpu_memory.GpuUnavailable, match="the driver shows a Tesla T4, but PyTorch"):
        gpu_memory.open_device()


@cuda
def test_cuda_device_caps_the_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPU_RELAY_SIMULATED_GPU", raising=False)
    device = gpu_memory.open_device()
    assert (device.kind, device.torch_device) == ("cuda", "cuda:0")
    assert gpu_memory.read().uuid.endswith(str(torch.cuda.get_device_properties(0).uuid))
    with device.reserve(512):
        held = torch.empty(256 << 20, dtype=torch.uint8, device=device.torch_device)
        assert 256 <= device.allocated_mib() <= 512
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(300 << 20, dtype=torch.uint8, device=device.torch_device)
    more = torch.empty(512 << 20, dtype=torch.uint8, device=device.torch_device)
    assert device.peak_mib() >= 768
    del held, more


@cuda
def test_cuda_device_refuses_invalid_sizes() -> None:
    with pytest.raises(ValueError, match="cannot reserve"), gpu_memory.CudaDevice().reserve(1 << 40):
        pass


def test_opening_a_simulated_device_imports_no_torch(ledger: gpu_memory.Ledger) -> None:
    from tests.unit.gpu_memory.conftest import Python

    code = "import gpu_memory, sys; gpu_memory.open_device(); print('torch' in sys.modules)"
    assert Python(ledger)(code) == "False"
    assert os.environ.get("GPU_RELAY_SIMULATED_GPU") != str(ledger.path)
