"""Requests that are much work, against a server process with a real (tiny) model: bounded, given up, beside others.

No test measures time. Where one needs a process to be slow, it is stopped (SIGSTOP).
"""

import io
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from PIL import Image

import gpu_memory
from bench.sam3 import clients as sam3_clients
from devcluster.programs.sam3 import TOKEN, Server, comm, png, runs, tiny_model
from devcluster.waiting import eventually
from tests.faults.test_sam3_abandoned import in_flight, stopped


def flat_png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "green").save(buffer, "PNG")
    return buffer.getvalue()


LARGE = png(1000, 1000)
HUGE = flat_png(7000, 7000)
HASTE = 24  # seconds; the worker gives a request up after three quarters of them
PROMPTS = [f"thing {index}" for index in range(8)]


def started(folder: Path, settings: dict[str, str]) -> Server:
    (folder / "token").write_text(TOKEN)
    server = Server(gpu_memory.create_ledger(folder / "gpu"), tiny_model(), folder / "token", settings)
    assert server.segment().status_code == 200
    return server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = started(tmp_path_factory.mktemp("work"), {"SAM3_MAX_MASK_MEGAPIXELS": "16"})
    yield server
    server.end()


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Allow more masks than its worker computes in its time."""
    settings = {"SAM3_MAX_MASK_MEGAPIXELS": "1000000", "SAM3_REQUEST_TIMEOUT": str(HASTE)}
    server = started(tmp_path_factory.mktemp("hasty"), settings)
    yield server
    server.end()


def ask(server: Server, prompts: list[str], image: bytes = LARGE, **fields: str) -> httpx.Response:
    data = {"prompt": prompts, "threshold": "0", **fields}
    return server.client.post("/api/v1/segment", files={"image": ("a.png", image)}, data=data)


def encoder(server: Server) -> int:
    (pid,) = [pid for pid in server.children() if comm(pid) == "sam3-encoder"]
    return pid


def test_more_prompts_than_masks_fit_are_refused(server: Server) -> None:
    (worker,) = server.workers()
    computed = server.metric("sam3_prompts_total")
    refused = ask(server, [*PROMPTS, *PROMPTS, "one more"])
    assert refused.status_code == 422
    assert "17 megapixels of masks" in refused.json()["detail"]
    assert "send at most 16 prompts" in refused.json()["detail"]
    assert "retry-after" not in refused.headers
    assert server.metric("sam3_prompts_total") == computed
    assert ask(server, [*PROMPTS, *PROMPTS, "one more"], format="box").status_code == 200
    assert server.workers() == [worker]


def test_the_best_masks_that_fit_are_returned(server: Server) -> None:
    every = ask(server, PROMPTS, format="box").json()["results"]
    few = ask(server, PROMPTS).json()["results"]
    assert [len(result["detections"]) for result in few] == [2] * 8
    for part, whole in zip(few, every, strict=True):
        assert part["omitted"] == len(whole["detections"]) - 2 > 0
        best = sorted((each["score"] for each in whole["detections"]), reverse=True)[:2]
        assert sorted((each["score"] for each in part["detections"]), reverse=True) == best


def test_an_answer_is_encoded_beside_the_next_requests_inference(server: Server) -> None:
    (worker,) = server.workers()
    computed = server.metric("sam3_prompts_total")
    with ThreadPoolExecutor() as pool, stopped(encoder(server)):
        answers = [pool.submit(ask, server, ["cat"]) for _ in range(2)]
        eventually(lambda: server.metric("sam3_prompts_total") - computed == 2, "both are computed")
        assert in_flight(server) == 2
        unloaded = server.unload(fence=1, ttl_seconds=600, drain_timeout_seconds=60).json()
        assert (unloaded["drained"], unloaded["aborted"]) == (0, 0), "the worker is needed no more"
        assert not runs(worker)
    assert [answer.result().status_code for answer in answers] == [200, 200]
    assert server.load(fence=1).status_code == 200


def test_the_answer_of_a_disconnected_client_is_not_encoded(server: Server) -> None:
    pid = encoder(server)
    with stopped(pid):
        clients = [sam3_clients.post(server.port, *sam3_clients.SEGMENT) for _ in range(4)]
        eventually(lambda: in_flight(server) == 4, "every request is admitted")
        sam3_clients.leave(clients)
        eventually(lambda: in_flight(server) == 0, "every request is dropped")
    assert server.segment().status_code == 200
    assert encoder(server) == pid


def test_an_encoder_that_died_is_replaced(server: Server) -> None:
    first = encoder(server)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: not runs(first), "it is gone")
    assert server.segment().status_code == 200
    assert encoder(server) != first
    assert server.zombies() == []


def test_a_timed_out_request_leaves_others_their_worker(hasty: Server) -> None:
    (worker,) = hasty.workers()
    with ThreadPoolExecutor() as pool:
        long = pool.submit(ask, hasty, [f"thing {index}" for index in range(32)], HUGE, format="polygon")
        eventually(lambda: in_flight(hasty) == 1, "it is admitted")
        other = pool.submit(hasty.segment)
    refused = long.result()
    assert refused.status_code == 422
    assert f"takes more than {HASTE * 3 // 4} s" in refused.json()["detail"]
    assert "of 32 prompts were computed); send fewer prompts, a smaller image" in refused.json()["detail"]
    assert "retry-after" not in refused.headers
    assert other.result().status_code == 200
    assert hasty.workers() == [worker]
    assert hasty.metric("sam3_worker_deaths_total") == 0


def test_a_server_that_is_killed_leaves_no_encoder(tmp_path: Path, server: Server) -> None:
    pid = encoder(server)
    server.process.kill()
    server.process.wait()
    eventually(lambda: not runs(pid), "the encoder died with its server", within=5)
