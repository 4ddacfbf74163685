"""Hostile and careless clients of a server process with the tiny model: what they cost it, and what others notice."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import gpu_memory
from bench.sam3 import attacks
from bench.sam3.attacks import CONCEPT, HONEST, MIB, SEGMENT
from devcluster.programs.sam3 import PNG, TOKEN, Server, runs, tiny_model
from devcluster.waiting import eventually

LONGEST_ANSWER = 10_000
MOST_GROWTH_MIB = 64
OTHERS_WAIT = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("front")
    token_file: Path = folder / "token"
    token_file.write_text(TOKEN)
    settings = {"SAM3_DECODE_TIMEOUT": "2", "SAM3_TRANSFER_TIMEOUT": "30", "SAM3_LOG_LEVEL": "error"}
    server = Server(gpu_memory.create_ledger(folder / "gpu"), tiny_model(), token_file, settings)
    try:
        assert server.segment().status_code == 200
        yield server
    finally:
        server.end()


@pytest.fixture(autouse=True)
def unharmed(server: Server) -> Iterator[None]:
    """Whatever was sent: the server holds no more memory after, and serves."""
    before = server.resident_mib()
    yield
    assert server.resident_mib() - before <= MOST_GROWTH_MIB
    assert server.metric("sam3_worker_deaths_total") == 0
    assert honest(server) == 200


def honest(server: Server) -> int:
    """Ask as another client does."""
    files, data = {"image": ("a.png", PNG)}, {"prompt": "cat"}
    headers = {"x-forwarded-for": HONEST}
    return httpx.post(
        server.url + SEGMENT, files=files, data=data, headers=headers, timeout=attacks.PATIENCE, verify=False
    ).status_code


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (SEGMENT, attacks.senseless_prompts),
        (CONCEPT, attacks.senseless_prompts),
        (CONCEPT, attacks.senseless_boxes),
        (SEGMENT, attacks.nested),
        (SEGMENT, attacks.long_text),
    ],
)
def test_senseless_bodies_get_short_answers(server: Server, path: str, body: Callable[[], bytes]) -> None:
    content = body()
    with attacks.meanwhile(4, lambda: attacks.send(server.url, path, content)) as answers:
        assert honest(server) == 200
    for answer in answers:
        assert answer.status_code in (413, 422)
        assert len(answer.content) <= LONGEST_ANSWER
        assert answer.json()["detail"]


def test_slow_uploads_take_little_memory_and_lock_no_client_out(server: Server) -> None:
    before = server.resident_mib()
    with attacks.Slow(server.port, 40) as slow:
        eventually(lambda: slow.sent > 20 * MIB, "they send")
        for _ in range(3):
            assert honest(server) == 200
            assert server.resident_mib() - before <= MOST_GROWTH_MIB
        assert held_in_files(server) <= 4 * 46 * MIB
    eventually(lambda: held_in_files(server) == 0, "what they sent is freed", within=OTHERS_WAIT)


def held_in_files(server: Server) -> int:
    """Bytes of bodies that the server has in memory."""
    held = 0
    for each in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            held += each.stat().st_size if "sam3-body" in str(each.readlink()) else 0
    return held


def test_while_held_no_byte_of_a_body_is_asked_for(server: Server) -> None:
    fence = 1
    assert server.unload(fence, ttl_seconds=600).status_code == 200
    try:
        with ThreadPoolExecutor(24) as threads:
            calls = [threads.submit(attacks.announce, server.port, SEGMENT, 40 * MIB) for _ in range(24)]
            assert {call.result()[0] for call in calls} == {503}
        assert held_in_files(server) == 0
    finally:
        assert server.load(fence).status_code == 200
        eventually(lambda: len(server.workers()) == 1, "one worker")


def test_costly_images_are_cancelled_and_lock_no_client_out(server: Server) -> None:
    content = attacks.as_json(attacks.empty_chunks())
    with attacks.meanwhile(6, lambda: attacks.send(server.url, SEGMENT, content)) as answers:
        time.sleep(1)  # both of what decodes are at it, if both can be
        assert honest(server) == 200
    assert {answer.status_code for answer in answers} == {422}
    assert "decode" in answers[0].json()["detail"]
    eventually(lambda: len(server.readers()) == 2, "what was ended is replaced", within=OTHERS_WAIT)


def test_an_image_one_pixel_wide_is_refused_by_its_header(server: Server) -> None:
    answer = attacks.send(server.url, SEGMENT, attacks.as_json(attacks.thin()))
    assert answer.status_code == 413
    assert "sides" in answer.json()["detail"]


def test_what_reads_requests_dies_with_the_server(server: Server, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    other = Server(gpu_memory.create_ledger(tmp_path / "gpu"), tiny_model(), token_file, {"SAM3_STANDBY": "false"})
    try:
        readers = eventually(lambda: other.readers()[1:] and other.readers(), "two of them")
        os.kill(readers[0], signal.SIGKILL)
        eventually(lambda: not runs(readers[0]), "it is gone")
        answers = [attacks.send(other.url, SEGMENT, b"{}").status_code for _ in range(3)]
        assert set(answers) <= {422, 503}
        assert answers[-1] == 422
        readers = other.readers()
        other.process.kill()
        other.process.wait()
        eventually(lambda: not any(map(runs, readers)), "no orphan is left", within=20)
    finally:
        other.end()
