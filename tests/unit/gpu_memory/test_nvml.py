"""nvidia-ml-py, unchanged, and `read` against the simulated driver library."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_memory import Ledger

PYNVML = "import pynvml as n; n.nvmlInit(); h = n.nvmlDeviceGetHandleByIndex(0); "
READ = "import gpu_memory as g; m = g.read(); print(m.total_mib, m.reserved_mib, m.used_mib, m.free_mib)"
SENTENCE = """
import gpu_memory as g
try:
    print("measured", g.read())
except g.GpuUnavailable as error:
    print(error)
"""
Run = Callable[..., str]


def test_identity(python: Run, ledger: Ledger) -> None:
    shown = python(
        PYNVML + "print(n.nvmlDeviceGetCount(), n.nvmlDeviceGetUUID(h), n.nvmlDeviceGetName(h),"
        "n.nvmlDeviceGetIndex(h), n.nvmlSystemGetDriverVersion(), sep='|')"
    )
    assert shown == f"1|{ledger.uuid}|Tesla T4|0|580.0-simulated"


def test_version_2_separates_reserved_from_used(python: Run, ledger: Ledger) -> None:
    with ledger.book(10240):
        shown = python(
            PYNVML + "m = n.nvmlDeviceGetMemoryInfo(h, version=n.nvmlMemory_v2);"
            "print(*(x >> 20 for x in (m.total, m.reserved, m.used, m.free)))"
        )
    assert shown == "15360 450 10240 4670"


def test_version_1_counts_the_reserve_as_used(python: Run, ledger: Ledger) -> None:
    with ledger.book(10240):
        shown = python(PYNVML + "m = n.nvmlDeviceGetMemoryInfo(h); print(m.total >> 20, m.used >> 20, m.free >> 20)")
    assert shown == "15360 10690 4670"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("n.nvmlDeviceGetMemoryInfo(h, version=0x03000028)", "ArgumentVersionMismatch"),
        ("n.nvmlDeviceGetHandleByIndex(1)", "InvalidArgument"),
        ("n.nvmlDeviceGetHandleByUUID('GPU-another')", "NotFound"),
        ("n.nvmlDeviceGetMemoryInfo(None)", "InvalidArgument"),
        ("n.nvmlDeviceGetUtilizationRates(h)", "NotSupported"),
        ("n.nvmlDeviceGetTemperature(h, 0)", "FunctionNotFound"),
        ("(n.nvmlShutdown(), n.nvmlDeviceGetCount())", "Uninitialized"),
    ],
)
def test_errors_are_nvmls(python: Run, call: str, error: str) -> None:
    code = f"{PYNVML}\ntry:\n    {call}\nexcept n.NVMLError as error:\n    print(type(error).__name__)"
    assert python(code) == f"NVMLError_{error}"


def test_found_by_uuid_in_any_case(python: Run, ledger: Ledger) -> None:
    assert python(PYNVML + f"print(n.nvmlDeviceGetName(n.nvmlDeviceGetHandleByUUID('{ledger.uuid.upper()}')))")


def test_error_strings(python: Run) -> None:
    assert python(PYNVML + "print(n.nvmlErrorString(9), '|', n.nvmlErrorString(4711))") == (
        "Driver Not Loaded | Unknown Error"
    )


def test_read_is_fresh_at_every_call(python: Run, ledger: Ledger) -> None:
    shown = python(
        "import gpu_memory as g, os; ledger = g.Ledger(os.environ['GPU_RELAY_SIMULATED_GPU'])\n"
        "for mib in (1, 300, 14000):\n"
        "    with ledger.book(mib): print(g.read().used_mib)\n"
        "    print(g.read().used_mib)"
    )
    assert shown.split() == ["1", "0", "300", "0", "14000", "0"]


def test_reading_imports_no_torch(python: Run) -> None:
    assert python(READ + "; import sys; print('torch' in sys.modules)").endswith("False")


def test_pytorch_does_not_take_it_for_a_cuda_device(python: Run) -> None:
    assert python("import torch; print(torch.cuda.device_count(), torch.cuda.is_available())") == "0 False"


def test_no_descriptor_stays_open(python: Run, ledger: Ledger) -> None:
    with ledger.book(1), ledger.book(2):
        (ledger.path / "bookings" / "dead").write_text("99\n", encoding="utf-8")
        shown = python(
            "import gpu_memory as g, os; g.read(); before = sorted(os.listdir('/proc/self/fd'))\n"
            "for _ in range(200): assert g.read().used_mib == 3\n"
            "print(sorted(os.listdir('/proc/self/fd')) == before)"
        )
    assert shown == "True"


def test_many_threads_read_at_once(python: Run, ledger: Ledger) -> None:
    code = PYNVML + (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def measure(_): return n.nvmlDeviceGetMemoryInfo(h, version=n.nvmlMemory_v2).used >> 20\n"
        "with ThreadPoolExecutor(8) as pool: print(set(pool.map(measure, range(400))))"
    )
    with ledger.book(77):
        assert python(code) == "{77}"


def test_a_forked_child_reads_another_gpu(python: Run, ledger: Ledger) -> None:
    shown = python(
        "import gpu_memory as g, os, shutil; here = os.environ['GPU_RELAY_SIMULATED_GPU']; g.read()\n"
        "shutil.copytree(here, here + '2'); open(here + '2/total_mib', 'w').write('1000')\n"
        "if os.fork() == 0:\n"
        "    os.environ['GPU_RELAY_SIMULATED_GPU'] += '2'; print(g.read().total_mib, flush=True); os._exit(0)\n"
        "os.wait(); print(g.read().total_mib)"
    )
    assert shown.split() == ["1000", "15360"]


def test_a_ledger_that_goes_and_comes_back(python: Run) -> None:
    shown = python(
        "import gpu_memory as g, os; here = os.environ['GPU_RELAY_SIMULATED_GPU']; g.read()\n"
        "os.rename(here, here + '2')\n"
        "try: g.read()\n"
        "except g.GpuUnavailable as error: print(error)\n"
        "os.rename(here + '2', here); print(g.read().total_mib)"
    )
    assert "holds no simulated GPU" in shown
    assert shown.endswith("15360")


@pytest.mark.parametrize(("file", "content"), [("total_mib", "many"), ("reserved_mib", "20000"), ("total_mib", "")])
def test_a_corrupted_ledger_is_an_error(python: Run, ledger: Ledger, file: str, content: str) -> None:
    (ledger.path / file).write_text(content, encoding="utf-8")
    assert "measured" not in python(SENTENCE)


def test_messages_say_what_to_change(python: Run, python_without_gpu: Run, ledger: Ledger) -> None:
    assert "LD_LIBRARY_PATH must contain" in python(SENTENCE, LD_LIBRARY_PATH="")
    assert "create-ledger /nowhere" in python(SENTENCE, GPU_RELAY_SIMULATED_GPU="/nowhere")
    shutil.rmtree(ledger.path / "bookings")
    assert "holds no simulated GPU" in python(SENTENCE)
    if not Path("/dev/nvidiactl").exists():
        assert "no NVIDIA driver library" in python_without_gpu(SENTENCE)


@pytest.mark.parametrize(
    ("visible", "measured"),
    [("0", True), ("GPU-0000aaaa-1111-2222-3333-444455556666", True), ("", False), ("-1", False)],
)
def test_cuda_visible_devices_is_respected(python: Run, visible: str, measured: bool) -> None:
    shown = python(SENTENCE, CUDA_VISIBLE_DEVICES=visible)
    assert shown.startswith("measured") == measured
    assert measured or "CUDA_VISIBLE_DEVICES" in shown


def test_importing_compiles_nothing_and_needs_no_driver() -> None:
    code = "import subprocess; subprocess.run = subprocess.Popen = None; import gpu_memory"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": "images/common"}).returncode == 0
