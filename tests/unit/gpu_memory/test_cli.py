"""`python -m gpu_memory`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_memory import Ledger
from gpu_memory.__main__ import main
from tests.unit.gpu_memory.conftest import environment


def cli(ledger: Ledger | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gpu_memory", *arguments]
    return subprocess.run(command, env=environment(ledger), capture_output=True, text=True, timeout=60)


def test_table(ledger: Ledger) -> None:
    with ledger.book(14000):
        lines = cli(ledger).stdout.splitlines()
    assert lines[0] == f"Tesla T4  {ledger.uuid}"
    assert [line.split() for line in lines[1:]] == [
        ["total", "15,360", "MiB"],
        ["reserved", "450", "MiB"],
        ["used", "14,000", "MiB"],
        ["free", "910", "MiB"],
    ]


def test_json(ledger: Ledger) -> None:
    assert json.loads(cli(ledger, "--json").stdout) == {
        "uuid": ledger.uuid,
        "name": "Tesla T4",
        "total_mib": 15360,
        "reserved_mib": 450,
        "used_mib": 0,
        "free_mib": 14910,
    }


def test_a_missing_gpu_is_one_sentence(ledger: Ledger) -> None:
    done = cli(ledger, "--index", "3")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("gpu_memory: NVML could not measure GPU 3")


def test_create_ledger(tmp_path: Path) -> None:
    done = cli(None, "create-ledger", str(tmp_path / "a" / "b"), "--uuid", "GPU-x", "--total-mib", "24576")
    assert done.stdout.splitlines() == [
        f"export GPU_RELAY_SIMULATED_GPU={tmp_path}/a/b",
        f"export LD_LIBRARY_PATH={tmp_path}/a/b/lib",
    ]
    assert "free  24,126 MiB" in cli(Ledger(tmp_path / "a" / "b")).stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--total-mib", "100"], "a GPU of 100 MiB cannot reserve 450 MiB"),
        (["--reserved-mib", "-1"], "a GPU of 15360 MiB cannot reserve -1 MiB"),
    ],
)
def test_bad_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str) -> None:
    assert main(["create-ledger", str(tmp_path), *arguments]) == 1
    assert sentence in capsys.readouterr().err


def test_no_compiler(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert main(["create-ledger", str(tmp_path / "gpu")]) == 1
    assert "install gcc, or set CC" in capsys.readouterr().err
