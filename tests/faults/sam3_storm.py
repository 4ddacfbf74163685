"""Clients that send without pause while the model comes and goes, and what became of every request."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from bench.sam3.health import Polled, polling
from devcluster.programs.sam3 import PNG, TEXT, TOKEN

PATIENCE = 120.0


@dataclass
class Storm:
    """What was seen: answers by status, what was wrong with any of them, and how soon /health answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    polled: Polled = field(default_factory=Polled)


async def rage(url: str, clients: int, meanwhile: Callable[[httpx.AsyncClient], Awaitable[None]]) -> Storm:
    """Let so many clients send, and /health be polled, until `meanwhile` is done; return what they saw."""
    storm, over = Storm(), asyncio.Event()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=limits) as client:
        expected = await _expected(client)
        with polling(url) as storm.polled:
            senders = [asyncio.create_task(_send(client, number, expected, storm, over)) for number in range(clients)]
            try:
                await meanwhile(client)
            finally:
                over.set()
                await asyncio.gather(*senders)
    return storm


async def turns(client: httpx.AsyncClient, cycles: int, first_fence: int = 1) -> None:
    """Unload for a turn and load again, so many times."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for fence in range(first_fence, first_fence + cycles):
        claim = {"holder": "job/storm", "fence": fence}
        unload = await client.post("/api/v1/unload", json=claim | {"renew_key": "key"}, headers=headers)
        assert unload.status_code == 200, unload.text
        load = await client.post("/api/v1/load", json=claim, headers=headers)
        assert load.status_code == 200, load.text


async def _expected(client: httpx.AsyncClient) -> list[Any]:
    answers = [await _ask(client, number) for number in range(2)]
    assert all(answer.status_code == 200 for answer in answers), answers[0].text
    return [answer.json()["results"] for answer in answers]


async def _ask(client: httpx.AsyncClient, number: int) -> httpx.Response:
    """Odd clients send JSON and ask for boxes, even ones a form and ask for masks."""
    if number % 2:
        body = {"image": TEXT, "prompts": ["cat"], "threshold": 0, "format": "box"}
        return await client.post("/api/v1/segment", json=body)
    files = {"image": ("a.png", PNG)}
    return await client.post("/api/v1/segment", files=files, data={"prompt": ["cat", "red dog"], "threshold": "0"})


async def _send(client: httpx.AsyncClient, number: int, expected: list[Any], storm: Storm, over: asyncio.Event) -> None:
    while not over.is_set():
        try:
            answer = await _ask(client, number)
        except httpx.HTTPError as error:
            storm.wrong.append(f"client {number} got no answer: {error!r}")
            continue
        storm.statuses[answer.status_code] += 1
        if answer.status_code == 200:
            if answer.json()["results"] != expected[number % 2]:
                storm.wrong.append(f"client {number} got another answer than the first: {answer.text}")
        elif answer.status_code != 503 or int(answer.headers.get("retry-after", "0")) <= 0:
            storm.wrong.append(f"client {number}: {answer.status_code} {answer.text}")
        else:
            await asyncio.sleep(0.01)  # a client that ignores Retry-After, but lets others live
