"""One client with many requests beside one with a single request, at a server process with a real (tiny) model.

A process is stopped (SIGSTOP) until all requests wait; then the order of the responses is what the server decided.
"""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import gpu_memory
from devcluster.programs.sam3 import TOKEN, Server, comm, png, tiny_model
from devcluster.waiting import eventually
from tests.faults.test_sam3_abandoned import in_flight, stopped

BATCH, PERSON = "10.0.0.1", "10.0.0.2"
MANY = 6
DECODED = 4  # of all requests: three of the batch, and that of the person
IMAGE = png(600, 600)
PROMPTS = [f"thing {index}" for index in range(6)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("fair")
    (folder / "token").write_text(TOKEN)
    server = Server(gpu_memory.create_ledger(folder / "gpu"), tiny_model(), folder / "token")
    try:
        assert server.segment().status_code == 200
        yield server
    finally:
        server.end()


def process(server: Server, name: str) -> int:
    (pid,) = [pid for pid in server.children() if comm(pid) == name]
    return pid


def bodies(server: Server) -> int:
    """Return how many bodies have been received and not been decoded."""
    count = 0
    for each in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            count += "sam3-body" in str(each.readlink())
    return count


@pytest.mark.parametrize("name", ["sam3-worker", "sam3-encoder"])
def test_one_request_does_not_wait_for_all_of_another_client(server: Server, name: str) -> None:
    computed, served = server.metric("sam3_prompts_total"), list[str]()

    def ask(client: str) -> int:
        data = {"prompt": PROMPTS, "threshold": "0", "format": "polygon"}
        headers = {"x-forwarded-for": client}
        files = {"image": ("a.png", IMAGE)}
        answer = httpx.post(f"{server.url}/api/v1/segment", files=files, data=data, headers=headers, timeout=120)
        served.append(client)
        return answer.status_code

    def reached(requests: int) -> bool:
        """Whether so many requests wait for the stopped process, or are in it."""
        if in_flight(server) != MANY + requests - 3 or bodies(server) != MANY - 3:
            return False
        return name == "sam3-worker" or server.metric("sam3_prompts_total") - computed == requests * len(PROMPTS)

    with ThreadPoolExecutor(MANY + 1) as pool:
        with stopped(process(server, name)):
            answers = [pool.submit(ask, BATCH) for _ in range(MANY)]
            eventually(lambda: reached(3), "the batch has all places that one client may have")
            answers.append(pool.submit(ask, PERSON))
            eventually(lambda: reached(DECODED), "the person's request waits, too")
        assert [answer.result() for answer in answers] == [200] * (MANY + 1)
    assert served == [BATCH, PERSON, *[BATCH] * (MANY - 1)]
