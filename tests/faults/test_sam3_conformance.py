"""The real SAM3 server, with real worker processes and a tiny model, keeps the resident's contract."""

import asyncio
from pathlib import Path

import pytest

import gpu_memory
from devcluster.programs.sam3 import LOAD_SECONDS, TOKEN, Server, tiny_model
from gpu_relay.conformance import runner


def test_the_sam3_server_keeps_the_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    (tmp_path / "gpu").mkdir()
    server = Server(gpu_memory.create_ledger(tmp_path / "gpu"), tiny_model(), token_file)
    try:
        results = asyncio.run(runner.run(server.url, TOKEN, load_timeout=LOAD_SECONDS))
    finally:
        server.end()
    assert [each.check.promise for each in results if each.violation] == [], capsys.readouterr().out
