"""Probes against a real server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import aiohttp
import pytest
from aiohttp import web

from devcluster.process_node.environment import ConfigError
from devcluster.process_node.probes import Probe, observe


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(float(request.query.get("wait", 0)))
        if request.headers.get("X-Secret") == "y":
            return web.Response(status=200)
        return web.Response(status=int(request.match_info["status"]), headers={"Location": "/500"})

    app = web.Application()
    app.router.add_get("/{status}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


def probe(port: int | str, path: str, **changes: object) -> Probe:
    spec = {"httpGet": {"port": port, "path": path, **changes}, "timeoutSeconds": 1}
    return Probe(spec, [{"name": "http", "containerPort": 8000}], "127.0.0.1")


@pytest.mark.parametrize(
    ("path", "passes"), [("/200", True), ("/302", True), ("/404", False), ("/503", False), ("/200?wait=5", False)]
)
async def test_answers(port: int, path: str, passes: bool) -> None:
    async with aiohttp.ClientSession() as session:
        assert await probe(port, path).passes(session) == passes


async def test_headers_are_sent(port: int) -> None:
    async with aiohttp.ClientSession() as session:
        assert await probe(port, "/500", httpHeaders=[{"name": "X-Secret", "value": "y"}]).passes(session)


async def test_no_server_listens(port: int) -> None:
    async with aiohttp.ClientSession() as session:
        assert not await probe(port, "/200", host="127.9.9.9").passes(session)


def test_urls() -> None:
    assert probe("http", "ready").url == "http://127.0.0.1:8000/ready"
    assert probe(1, "", scheme="HTTPS").url == "https://127.0.0.1:1/"
    with pytest.raises(ConfigError, match="'metrics'"):
        probe("metrics", "/")


def scripted(answers: list[bool]) -> Callable[[], Awaitable[bool]]:
    left: Iterator[bool] = iter(answers)

    async def ask() -> bool:
        try:
            return next(left)
        except StopIteration:
            raise asyncio.CancelledError from None

    return ask


@pytest.mark.parametrize(
    ("answers", "verdicts"),
    [
        ([True, True, True], [True]),
        ([False, False, True, False, False, False, False], [True, False]),
        ([False, False, False, True], [False, True]),
    ],
)
async def test_thresholds(answers: list[bool], verdicts: list[bool]) -> None:
    given: list[bool] = []

    def note(verdict: bool) -> bool:
        given.append(verdict)
        return True

    spec = {"httpGet": {"port": 1}, "periodSeconds": 0, "failureThreshold": 3}
    with pytest.raises(asyncio.CancelledError):
        await observe(Probe(spec, [], ""), scripted(answers), note)
    assert given == verdicts


async def test_a_verdict_may_be_the_last() -> None:
    spec = {"httpGet": {"port": 1}, "periodSeconds": 0}
    await observe(Probe(spec, [], ""), scripted([True]), lambda _: False)
