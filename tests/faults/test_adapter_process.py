"""An engine that the adapter runs: its processes end with an unload, whatever they do."""

import os
import signal
import sys
from pathlib import Path

import pytest

from devcluster.programs.adapter import AdapterProcess, free_port
from devcluster.waiting import eventually
from gpu_memory import Ledger, create_ledger

TOKEN = "let-me-in"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    (tmp_path / "gpu").mkdir()
    return create_ledger(tmp_path / "gpu")


class Started:
    """An adapter with an engine that it runs, and the port of that engine."""

    def __init__(self, ledger: Ledger, folder: Path, script: str = "", **settings: str) -> None:
        token_file = folder / "token"
        token_file.write_text(TOKEN)
        self.port = free_port()
        engine = f"{sys.executable} -m devcluster.scripted.engine_process {self.port}"
        command = ["sh", "-c", script.format(engine=engine) if script else f"exec {engine}"]
        url = f"http://127.0.0.1:{self.port}"
        self.adapter = AdapterProcess(
            ledger, token_file, profile="process", engine=url, command=command, settings=settings
        )

    def engine_pid(self) -> int:
        """Return the PID of the scripted engine."""
        for each in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = each.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"devcluster.scripted.engine_process" in words and str(self.port).encode() in words:
                return int(each.parent.name)
        return 0

    def segment(self) -> int:
        return self.adapter.client.post("/v1/echo", content=b"x").status_code


def test_a_request_starts_the_engine_and_an_unload_ends_it(ledger: Ledger, tmp_path: Path) -> None:
    started = Started(ledger, tmp_path)
    try:
        assert started.engine_pid() == 0
        assert started.segment() == 200
        assert ledger.used_mib > 0
        assert started.adapter.unload(1).status_code == 200
        assert started.engine_pid() == 0
        assert ledger.used_mib == 0
        assert started.segment() == 503
        assert started.adapter.load(1).status_code == 200
        assert started.segment() == 200
    finally:
        assert started.adapter.end() == 0
    assert started.engine_pid() == 0, "the engine ends with the adapter"


def test_an_engine_that_dies_is_started_for_the_next_request(ledger: Ledger, tmp_path: Path) -> None:
    started = Started(ledger, tmp_path)
    try:
        assert started.segment() == 200
        os.kill(started.engine_pid(), signal.SIGKILL)
        health = eventually(lambda: died(started), "the death of the engine to be noticed")
        assert "the engine was ended by signal 9 unexpectedly" in health
        assert started.segment() == 200
    finally:
        started.adapter.end()


def died(started: Started) -> str:
    return str(started.adapter.control.get("/health").json()["error"] or "")


@pytest.mark.parametrize(
    "script",
    [
        "trap '' TERM; {engine} & wait; wait",
        "setsid {engine} & exec sleep 600",
        "({engine} &) ; exec sleep 600",
    ],
    ids=["a shell that ignores SIGTERM", "a session of its own", "an orphan"],
)
def test_no_process_of_the_engine_is_left(ledger: Ledger, tmp_path: Path, script: str) -> None:
    started = Started(ledger, tmp_path, script, KILL_GRACE="0.5")
    try:
        assert started.segment() == 200
        assert started.adapter.unload(1).status_code == 200
        assert started.engine_pid() == 0
        assert ledger.used_mib == 0
    finally:
        started.adapter.end()


def test_an_engine_that_ends_before_it_answers_is_named(ledger: Ledger, tmp_path: Path) -> None:
    started = Started(ledger, tmp_path, "exit 3")
    try:
        answer = started.adapter.client.post("/v1/echo", content=b"x")
        assert answer.status_code == 503
        assert "sh exited with status 3 before it answered" in answer.json()["detail"]
    finally:
        started.adapter.end()


def test_an_adapter_that_is_killed_knows_its_hold(ledger: Ledger, tmp_path: Path) -> None:
    hold_file = tmp_path / "hold.json"
    started = Started(ledger, tmp_path, HOLD_FILE=str(hold_file))
    try:
        assert started.adapter.unload(7, ttl_seconds=600).status_code == 200
    finally:
        started.adapter.process.kill()
        started.adapter.process.wait()
    again = Started(ledger, tmp_path, HOLD_FILE=str(hold_file))
    try:
        assert again.adapter.report()["hold"]["fence"] == 7
        assert again.segment() == 503
    finally:
        again.adapter.end()
