"""Several images in one request, at a server process with a real (tiny) model.

The worker is stopped (SIGSTOP) until all requests wait for it; then the order of the responses is what the server
decided.
"""

import base64
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

import gpu_memory
from bench.sam3 import clients as sam3_clients
from devcluster.programs.sam3 import TOKEN, Server, png, tiny_model
from devcluster.waiting import eventually
from tests.faults.test_sam3_abandoned import in_flight, stopped
from tests.faults.test_sam3_fair_order import bodies, process

BATCH, PERSON = "10.0.0.1", "10.0.0.2"
IMAGES = [png(90, 60), png(80, 50), png(70, 40), png(60, 30)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("several")
    (folder / "token").write_text(TOKEN)
    server = Server(gpu_memory.create_ledger(folder / "gpu"), tiny_model(), folder / "token")
    try:
        assert server.segment().status_code == 200
        yield server
    finally:
        server.end()


def ask(server: Server, name: str, *images: bytes, client: str = BATCH) -> httpx.Response:
    files = [(name, ("a.png", image)) for image in images]
    data, headers = {"prompt": ["cat", "red dog"], "threshold": "0"}, {"x-forwarded-for": client}
    return httpx.post(f"{server.url}/api/v1/segment", files=files, data=data, headers=headers, timeout=120)


def without_time(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != "model_seconds"}


def decoded(server: Server) -> int:
    """Return how many images' pixels the server has in memory."""
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    return sum("memfd:sam3-answer" in line for line in maps.splitlines())


def encoded(server: Server) -> int:
    """Return how many requests with several images have images that are not decoded yet, in unmapped files."""
    count = -decoded(server)
    for each in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            count += "sam3-answer" in str(each.readlink())
    return count


def test_each_image_gets_the_answer_that_it_gets_alone(server: Server) -> None:
    answer = ask(server, "images", IMAGES[0], b"%PDF", *IMAGES[1:])
    assert answer.status_code == 200
    first, broken, *others = answer.json()["images"]
    by_id = {"image_id": others[-1]["image_id"], "prompts": ["cat"]}
    assert server.client.post("/api/v1/segment", json=by_id).status_code == 200
    alone = [ask(server, "image", image).json() for image in IMAGES]
    assert [without_time(each) for each in (first, *others)] == [without_time(each) for each in alone]
    assert all(each["results"][0]["detections"] for each in alone)
    assert broken["status"] == 422


def test_one_image_is_decoded_at_a_time_and_others_are_served_between(server: Server) -> None:
    served = list[str]()

    def timed(client: str, name: str, *images: bytes) -> httpx.Response:
        answer = ask(server, name, *images, client=client)
        served.append(client)
        return answer

    with ThreadPoolExecutor() as pool:
        with stopped(process(server, "sam3-worker")):
            batch = pool.submit(timed, BATCH, "images", *IMAGES)
            eventually(lambda: decoded(server) == 1, "the first image is decoded")
            assert (in_flight(server), bodies(server), encoded(server)) == (1, 0, 1)
            person = pool.submit(timed, PERSON, "image", IMAGES[0])
            eventually(lambda: decoded(server) == 2, "the person's image is decoded, too")
        assert person.result().status_code == 200
        assert len(batch.result().json()["images"]) == len(IMAGES)
    assert served == [PERSON, BATCH]
    eventually(lambda: (decoded(server), encoded(server)) == (0, 0), "nothing is left in memory")


def test_an_unload_ends_the_request_with_503(server: Server) -> None:
    with ThreadPoolExecutor() as pool:
        with stopped(process(server, "sam3-worker")):
            batch = pool.submit(ask, server, "images", *IMAGES)
            eventually(lambda: decoded(server) == 1, "the first image waits for the worker")
            assert server.unload(1, drain_timeout_seconds=0).status_code == 200
        answer = batch.result()
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert int(answer.headers["retry-after"]) > 0
    assert (decoded(server), encoded(server)) == (0, 0)
    assert server.load(1).status_code == 200
    assert ask(server, "images", *IMAGES).status_code == 200


def test_a_client_that_disconnects_ends_its_request(server: Server) -> None:
    abandoned = server.metric("sam3_abandoned_total")
    texts = [base64.b64encode(image).decode() for image in IMAGES]
    with stopped(process(server, "sam3-worker")):
        leaving = sam3_clients.post(server.port, "/api/v1/segment", {"images": texts, "prompts": ["cat"]})
        eventually(lambda: decoded(server) == 1, "the first image waits for the worker")
        sam3_clients.leave([leaving])
        eventually(lambda: server.metric("sam3_abandoned_total") == abandoned + 1, "the request is dropped")
        eventually(lambda: encoded(server) == 0, "its other images are freed")
    assert ask(server, "images", *IMAGES).status_code == 200
