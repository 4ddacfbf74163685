"""Shares between clients: what one may take, in which order they are served, and who counts as one."""

import asyncio
import contextlib
import os
from typing import Any

import httpx
import pytest

from residency.api.client_address import client_network, client_of
from residency.fair_queue import FairQueue
from tests.unit.sam3.conftest import MAX_BODY, Resident, png

BATCH, INTERACTIVE = "10.0.0.1", "10.0.0.2"


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_clients_are_served_in_rotation_and_each_in_its_own_order() -> None:
    queue, served = FairQueue(1, 1), list[str]()

    async def ask(client: str, name: str) -> None:
        async with queue.turn(client):
            served.append(name)
            await asyncio.sleep(0)

    asked = [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("b", "b2"), ("c", "c1")]
    await asyncio.gather(*(ask(client, name) for client, name in asked))
    assert served == ["a1", "b1", "c1", "a2", "b2", "a3"]


async def test_what_a_client_returns_goes_to_another_client_first() -> None:
    queue, served = FairQueue(1, 1), list[str]()

    async def clicks(count: int) -> None:
        for _ in range(count):
            async with queue.turn(INTERACTIVE):
                served.append("click")
                await asyncio.sleep(0)

    async def one_of_many() -> None:
        async with queue.turn(BATCH):
            served.append("batch")
            await asyncio.sleep(0)

    await asyncio.gather(*(one_of_many() for _ in range(6)), clicks(3))
    assert served == ["batch", "click"] * 3 + ["batch"] * 3


async def test_new_clients_do_not_starve_one_that_waits() -> None:
    queue, served, others = FairQueue(1, 1), list[str](), list[asyncio.Task[None]]()

    async def ask(client: str) -> None:
        async with queue.turn(client):
            served.append(client)
            if len(others) < 9:
                others.append(asyncio.create_task(ask(f"new {len(others)}")))
            await settled()

    await asyncio.gather(*(ask(BATCH) for _ in range(3)))
    for each in others:
        await each
    assert served[:6] == [BATCH, "new 0", BATCH, "new 1", "new 2", BATCH]


async def test_one_client_leaves_room_for_others() -> None:
    queue = FairQueue(3, 2)
    first = [asyncio.create_task(queue.acquire("a")) for _ in range(5)]
    await settled()
    assert sum(each.done() for each in first) == 2
    async with asyncio.timeout(1):
        await queue.acquire("b")
    queue.release("b")
    await settled()
    assert sum(each.done() for each in first) == 2
    queue.release("a")
    await settled()
    assert [each.done() for each in first] == [True, True, True, False, False]
    assert queue.waiting("a") == 2
    for each in first:
        each.cancel()


async def test_a_large_request_is_not_overtaken_indefinitely() -> None:
    queue = FairQueue(10, 10)
    await queue.acquire("a", 4)
    large = asyncio.create_task(queue.acquire("b", 8))
    await settled()
    small = asyncio.create_task(queue.acquire("c", 1))
    await settled()
    assert (large.done(), small.done()) == (False, False)
    queue.release("a", 4)
    await settled()
    assert (large.done(), small.done()) == (True, True)


async def test_a_cancelled_request_takes_nothing_and_blocks_no_other() -> None:
    queue = FairQueue(2, 2)
    await queue.acquire("a", 2)
    large = asyncio.create_task(queue.acquire("b", 2))
    await settled()
    granted = asyncio.create_task(queue.acquire("c", 2))
    await settled()
    large.cancel()
    queue.release("a", 2)
    granted.cancel()  # while it is being granted
    await asyncio.gather(large, granted, return_exceptions=True)
    async with asyncio.timeout(1):
        await queue.acquire("d", 2)


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9%eth0", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
        ("x" * 1000, "x" * 64),
    ],
)
def test_an_ipv6_network_is_one_client(address: str, client: str) -> None:
    assert client_network(address) == client


def test_without_an_address_there_is_one_client() -> None:
    assert client_of({"type": "http", "client": None}) == "unknown"


def caller(resident: Resident, address: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(resident.app, raise_app_exceptions=False, client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://sam3", timeout=20)


def ask(client: httpx.AsyncClient, **arguments: Any) -> "asyncio.Task[httpx.Response]":
    files = {"image": ("a.png", png())}
    return asyncio.create_task(client.post("/api/v1/segment", files=files, data={"prompt": "cat"}, **arguments))


@pytest.mark.parametrize("resident", [{"max_in_flight": 8, "max_per_client": 6}], indirect=True)
async def test_a_batch_client_does_not_lock_out_an_interactive_one(resident: Resident) -> None:
    assert (await resident.segment()).status_code == 200
    resident.script.inferring.clear()
    async with caller(resident, BATCH) as batch, caller(resident, INTERACTIVE) as interactive:
        first = [ask(batch) for _ in range(6)]
        await resident.until(lambda: resident.coordinator.admission.quota.count == 6)
        refused = await ask(batch)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        assert "this client" in refused.json()["detail"]
        other = ask(interactive)
        worker = resident.script.launched[0]
        await resident.until(lambda: len(worker.images) == 1 + 4)  # three of the batch, and the other one
        resident.script.inferring.set()
        assert (await other).status_code == 200
        assert [(await each).status_code for each in first] == [200] * 6


@pytest.mark.parametrize("resident", [{"max_in_flight": 1, "max_per_client": 1}], indirect=True)
async def test_no_byte_of_a_body_is_read_without_a_place(resident: Resident) -> None:
    resident.script.preparing.clear()
    read = 0

    async def chunks() -> Any:
        nonlocal read
        read += 1
        yield b"{"

    async with caller(resident, BATCH) as batch, caller(resident, INTERACTIVE) as interactive:
        first = ask(batch)
        await resident.until(lambda: resident.coordinator.in_flight.count == 1)
        headers = {"content-type": "application/json"}
        for client in (batch, interactive):
            answer = await client.post("/api/v1/segment", content=chunks(), headers=headers)
            assert (answer.status_code, read) == (503, 0)
        assert (await resident.unload()).status_code == 200
        answer = await interactive.post("/sam3/concept_segment", content=chunks(), headers=headers)
        assert (answer.status_code, read) == (503, 0)
        assert "lent" in answer.json()["detail"]
        await first


async def test_a_body_that_meets_a_hold_is_read_no_further(resident: Resident) -> None:
    begun, read = asyncio.Event(), 0

    async def chunks() -> Any:
        nonlocal read
        for _ in range(50):
            read += 1
            yield b" " * 100
            begun.set()
            await asyncio.sleep(0.02)

    async with caller(resident, BATCH) as client:
        headers = {"content-type": "application/json"}
        upload = asyncio.create_task(client.post("/api/v1/segment", content=chunks(), headers=headers))
        await begun.wait()
        assert (await resident.unload()).status_code == 200
        assert (await upload).status_code == 503
        assert read < 50
    assert (await resident.measured())["refused"] == 1


@pytest.mark.parametrize("resident", [{"transfer_timeout": 0.1}], indirect=True)
@pytest.mark.parametrize("path", ["/api/v1/segment", "/sam3/concept_segment", "/api/v1/unload"])
async def test_a_body_that_does_not_arrive_is_not_waited_for(resident: Resident, path: str) -> None:
    async def stalls() -> Any:
        yield b"{"
        await asyncio.sleep(20)

    answer = await resident.client.post(path, content=stalls(), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (408, "application/problem+json")
    assert resident.coordinator.admission.quota.count == 0


@pytest.mark.parametrize(
    "resident", [{"transfer_timeout": 60.0, "max_in_flight": 16, "max_per_client": 16}], indirect=True
)
async def test_bytes_in_memory_are_bounded_and_one_client_leaves_some(resident: Resident) -> None:
    taken = 0

    async def large() -> Any:
        nonlocal taken
        yield b"{"
        taken += 1
        await asyncio.sleep(600)

    headers = {"content-type": "application/json"}  # of no length that is known, so the most is set aside
    async with caller(resident, BATCH) as batch, caller(resident, INTERACTIVE) as interactive:
        uploads = [
            asyncio.create_task(batch.post("/api/v1/segment", content=large(), headers=headers)) for _ in range(8)
        ]
        await resident.until(lambda: taken == 2)
        assert (await ask(interactive)).status_code == 200
        assert taken == 2
        for each in uploads:
            each.cancel()
        await asyncio.gather(*uploads, return_exceptions=True)


async def test_what_is_set_aside_for_a_body_comes_back_however_it_ends(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> int:
        raise OSError(24, "Too many open files")

    async def leaves() -> Any:
        yield b"{"
        raise RuntimeError("the client leaves")

    headers = {"content-type": "application/json"}
    with monkeypatch.context() as patched:
        patched.setattr(os, "memfd_create", fail)
        for _ in range(3):
            answer = await resident.segment()
            assert answer.status_code == 503
            assert "Too many open files" in answer.json()["detail"]
    for _ in range(3):
        with contextlib.suppress(RuntimeError):
            await resident.client.post("/api/v1/segment", content=leaves(), headers=headers)
        assert (await resident.client.post("/api/v1/segment", content=bytes(4 << 20))).status_code == 413
        assert (await resident.client.post("/api/v1/segment", content=b"{", headers=headers)).status_code == 422
    assert resident.app.state.bodies._memory._free == 4 * MAX_BODY
    assert (await resident.segment()).status_code == 200


async def test_control_routes_take_little(resident: Resident) -> None:
    body = {"holder": "job/a", "fence": 1, "renew_key": "x" * (1 << 17)}
    answer = await resident.client.post("/api/v1/unload", json=body)
    assert answer.status_code == 413
    assert "64 KiB" in answer.json()["detail"]
