"""Clients that leave before their answer, against a server process with a real (tiny) model.

The worker is stopped (SIGSTOP) while they leave, so what it computes afterwards is what the server still sent it.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gpu_memory
from bench.sam3 import clients as sam3_clients
from devcluster.programs.sam3 import TOKEN, Server, tiny_model
from devcluster.waiting import eventually

MOST = 16
ROUTES = pytest.mark.parametrize("request_", [sam3_clients.SEGMENT, sam3_clients.CONCEPT], ids=["segment", "concept"])
Sent = tuple[str, dict[str, Any]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("abandoned")
    (folder / "token").write_text(TOKEN)
    settings = {"SAM3_MAX_IN_FLIGHT": str(MOST), "SAM3_MAX_PER_CLIENT": str(MOST), "SAM3_KILL_GRACE": "0"}
    server = Server(gpu_memory.create_ledger(folder / "gpu"), tiny_model(), folder / "token", settings)
    try:
        assert server.segment().status_code == 200
        yield server
    finally:
        server.end()


@contextlib.contextmanager
def stopped(worker: int) -> Iterator[None]:
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGCONT)


def in_flight(server: Server) -> int:
    count: int = server.client.get("/api/v1/gpu").json()["in_flight"]
    return count


@ROUTES
def test_abandoned_requests_leave_the_server_open(server: Server, request_: Sent) -> None:
    (worker,) = server.workers()
    prompts, abandoned = server.metric("sam3_prompts_total"), server.metric("sam3_abandoned_total")
    with stopped(worker):
        clients = [sam3_clients.post(server.port, *request_) for _ in range(MOST)]
        eventually(lambda: in_flight(server) == MOST, "every request is admitted")
        assert server.segment().status_code == 503
        sam3_clients.leave(clients)
        eventually(lambda: in_flight(server) == 0, "every request is dropped")
    assert server.segment().status_code == 200
    assert server.metric("sam3_abandoned_total") - abandoned == MOST
    assert server.metric("sam3_prompts_total") - prompts == 2, "only the last request's prompts were computed"
    assert server.workers() == [worker]


def test_an_unload_does_not_wait_for_disconnected_clients(server: Server) -> None:
    (worker,) = server.workers()
    prompts = server.metric("sam3_prompts_total")
    with stopped(worker):
        clients = [sam3_clients.post(server.port, *sam3_clients.SEGMENT) for _ in range(8)]
        eventually(lambda: in_flight(server) == 8, "every request is admitted")
        sam3_clients.leave(clients)
        unloaded = server.unload(fence=1, ttl_seconds=600, drain_timeout_seconds=20).json()
    assert unloaded["aborted"] == 0, "the worker is stopped, so whatever had been waited for would have been aborted"
    assert server.metric("sam3_prompts_total") == prompts
    assert server.ledger.used_mib == 0
    assert server.load(fence=1).status_code == 200
    assert server.segment().status_code == 200
