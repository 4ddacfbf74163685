"""Clients that disconnect: their work is cancelled at every step, and no other client's."""

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from sam3_server.api.disconnects import cancel_on_disconnect
from tests.unit.sam3.conftest import Resident, png


class Client:
    """One ASGI connection whose client has sent everything and leaves when the test says so."""

    def __init__(self, resident: Resident, body: bytes, content_type: str) -> None:
        self.left = asyncio.Event()
        self.sent: list[Any] = []
        self._body = [body]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "query_string": b"",
            "path": "/api/v1/segment", "raw_path": b"/api/v1/segment", "scheme": "http", "root_path": "",
            "headers": [(b"content-type", content_type.encode())], "client": ("127.0.0.1", 1), "server": ("sam3", 80),
        }  # fmt: skip
        self.served = asyncio.create_task(resident.app(scope, self._receive, self._send))

    async def _receive(self) -> Any:
        if self._body:
            return {"type": "http.request", "body": self._body.pop(), "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)


def client(resident: Resident) -> Client:
    request = resident.client.build_request(
        "POST", "/api/v1/segment", files={"image": ("a.png", png())}, data={"prompt": "cat"}
    )
    return Client(resident, request.read(), request.headers["content-type"])


async def test_a_client_that_stays_connected_is_answered(resident: Resident) -> None:
    staying = client(resident)
    await staying.served
    assert staying.sent[0]["status"] == 200


async def test_requests_of_disconnected_clients_never_reach_the_worker(resident: Resident) -> None:
    await resident.segment()
    (worker,) = resident.script.launched
    resident.script.inferring.clear()
    clients = [client(resident) for _ in range(4)]
    await resident.until(lambda: resident.coordinator.in_flight.count == 4 and len(worker.images) == 4)
    for each in clients:
        each.left.set()
    await asyncio.gather(*(each.served for each in clients))
    assert resident.coordinator.in_flight.count == 0
    assert [each.sent for each in clients] == [[]] * 4
    resident.script.inferring.set()
    assert (await resident.segment()).status_code == 200
    assert len(worker.images) == 5, "one before, the three whose turn it was already, and the one that stayed"
    metrics = (await resident.client.get("/metrics")).text.splitlines()
    assert "sam3_abandoned_total 4.0" in metrics
    assert 'sam3_requests_total{route="/api/v1/segment",status="499"} 4.0' in metrics


async def test_a_load_survives_the_client_that_started_it(resident: Resident) -> None:
    resident.script.preparing.clear()
    leaving = client(resident)
    await resident.until(lambda: bool(resident.script.launched))
    staying = resident.begin(resident.segment())
    leaving.left.set()
    await leaving.served
    resident.script.preparing.set()
    assert (await staying).status_code == 200
    assert len(resident.script.launched) == 1


async def test_an_unload_does_not_wait_for_disconnected_clients(resident: Resident) -> None:
    await resident.segment()
    resident.script.inferring.clear()
    clients = [client(resident) for _ in range(4)]
    await resident.until(lambda: resident.coordinator.in_flight.count == 4)
    order = resident.begin(resident.unload(drain_timeout_seconds=60))
    for each in clients:
        each.left.set()
    answer = (await order).json()
    assert (answer["drained"], answer["aborted"]) == (4, 0)
    assert resident.gpu.workers == 0


async def test_work_is_cancelled_on_disconnect() -> None:
    left, cancelled = asyncio.Event(), asyncio.Event()

    async def receive() -> Any:
        await left.wait()
        return {"type": "http.disconnect"}

    async def work(seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise LookupError

    request = Request({"type": "http"}, receive)
    with pytest.raises(LookupError):
        await cancel_on_disconnect(request, work(0))
    waiting = asyncio.create_task(cancel_on_disconnect(request, work(3600)))
    await asyncio.sleep(0)
    left.set()
    with pytest.raises(ClientDisconnect):
        await waiting
    assert cancelled.is_set()
