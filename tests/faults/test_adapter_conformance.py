"""The adapter, as a process, keeps the resident's contract with each profile that comes with it.

The engines are scripted after their public APIs (devcluster/scripted/engines.py); memory is that of a simulated GPU.
"""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import gpu_memory
from devcluster.programs.adapter import AdapterProcess, free_port
from devcluster.scripted.engines import CONTEXT_MIB, ENGINES, ScriptedEngine
from gpu_relay.conformance import runner
from relay_adapter.profile import Profile, names, read_profile

LOAD_SECONDS = 60.0
TOKEN = "let-me-in"


@pytest.fixture
def ledger(tmp_path: Path) -> gpu_memory.Ledger:
    (tmp_path / "gpu").mkdir()
    return gpu_memory.create_ledger(tmp_path / "gpu")


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    return file


def test_every_profile_is_tested() -> None:
    assert set(names()) == {*ENGINES, "process"}


@pytest.fixture
def engine(request: pytest.FixtureRequest, ledger: gpu_memory.Ledger) -> Iterator[ScriptedEngine]:
    engine = ENGINES[request.param](ledger, context_mib=CONTEXT_MIB)
    yield engine
    engine.close()


def profile_of(name: str, folder: Path) -> str:
    """Return the profile, or for ComfyUI a copy of it whose probe is a prompt: nothing else loads its model."""
    if name != "comfyui":
        return name
    own = read_profile(name, "m").model_dump(mode="json", exclude_unset=True)
    file = folder / "profile.yaml"
    file.write_text(yaml.safe_dump({**own, "probe": {"path": "/prompt", "body": {"prompt": {}}}}))
    assert Profile.model_validate(yaml.safe_load(file.read_text())).probe is not None
    return str(file)


@pytest.mark.parametrize(("engine", "name"), [(each, each) for each in ENGINES], indirect=["engine"], ids=list(ENGINES))
def test_the_contract_is_kept_by_calls(
    engine: ScriptedEngine, name: str, ledger: gpu_memory.Ledger, token_file: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    adapter = AdapterProcess(ledger, token_file, profile=profile_of(name, tmp_path), engine=engine.url)
    try:
        results = asyncio.run(runner.run(adapter.url, TOKEN, load_timeout=LOAD_SECONDS))
        assert [each.check.promise for each in results if each.violation] == [], capsys.readouterr().out
        assert adapter.report()["residual_mib"] == CONTEXT_MIB
    finally:
        adapter.end()


def test_the_contract_is_kept_with_a_process(
    ledger: gpu_memory.Ledger, token_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    command = [sys.executable, "-m", "devcluster.scripted.engine_process", str(port)]
    adapter = AdapterProcess(ledger, token_file, profile="process", engine=f"http://127.0.0.1:{port}", command=command)
    try:
        results = asyncio.run(runner.run(adapter.url, TOKEN, load_timeout=LOAD_SECONDS))
        assert [each.check.promise for each in results if each.violation] == [], capsys.readouterr().out
        assert adapter.report()["residual_mib"] == 0
    finally:
        assert adapter.end() == 0
    assert ledger.used_mib == 0
