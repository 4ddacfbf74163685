"""The client of the Kubernetes API against a scripted server: bounds, errors, pages, watches and writes."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gpu_relay.clients import clock
from gpu_relay.clients.kube import Kube
from gpu_relay.clients.kube_error import KubeError, TooLargeError
from gpu_relay.clients.kube_reader import KubeReader
from gpu_relay.clients.rest_client import Connection, RestClient

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler, **options: Any) -> AsyncIterator[RestClient]:
    """Answer every request with `handler`; `options` are those of the client."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)

    async def authorization() -> str:
        return "Bearer secret"

    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        connection = Connection(session, str(server.make_url("")).rstrip("/"), authorization)
        yield RestClient(connection, **{"timeout": 10.0, **options})


def always(body: bytes, status: int = 200) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status)

    return answer


async def error_of(call: Awaitable[Any]) -> KubeError:
    with pytest.raises(KubeError) as caught:
        await call
    return caught.value


# errors


async def test_a_redirect_is_an_error_and_is_not_followed() -> None:
    asked: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async with serving(elsewhere) as rest:
        assert (await error_of(KubeReader(rest).get("/pods/proxy"))).status == 302
    assert asked == ["/pods/proxy"]


async def test_a_status_of_the_api_server_is_decoded() -> None:
    status = {
        "kind": "Status", "reason": "Forbidden", "message": 'pods is forbidden: User "ann" cannot list pods',
        "details": {"kind": "pods"},
    }  # fmt: skip
    async with serving(always(json.dumps(status).encode(), 403)) as rest:
        error = await error_of(KubeReader(rest).get("/x"))
    assert (error.reason, error.details, error.user) == ("Forbidden", {"kind": "pods"}, "ann")
    assert error.right_is_missing


@pytest.mark.parametrize("body", [b'User "ann" cannot', b'{"message": "User \\"ann\\" cannot"}'])
async def test_the_error_of_a_pod_is_no_missing_right(body: bytes) -> None:
    async with serving(always(body, 403)) as rest:
        error = await error_of(KubeReader(rest).get("/x"))
    assert (error.message, error.right_is_missing) == (body.decode(), False)


@pytest.mark.parametrize(("details", "unknown"), [({}, True), ({"name": "digits"}, False)])
async def test_an_unknown_kind_differs_from_a_missing_object(details: dict[str, str], unknown: bool) -> None:
    body = json.dumps({"kind": "Status", "message": "not found", "details": details}).encode()
    async with serving(always(body, 404)) as rest:
        error = await error_of(KubeReader(rest).get("/x"))
    assert (error.not_found, error.kind_not_found) == (True, unknown)


async def test_an_error_is_read_up_to_64_kib() -> None:
    async with serving(always(b"x" * 2**20, 500)) as rest:
        assert len((await error_of(KubeReader(rest).get("/x"))).message) == 64 * 1024


async def test_an_error_without_a_body_names_the_request() -> None:
    async with serving(always(b"", 503)) as rest:
        assert (await error_of(KubeReader(rest).get("/x"))).message == "The API server answered 503 to GET /x."


@pytest.mark.parametrize("body", [b"[1]", b"not JSON", b"\xff"])
async def test_a_response_that_is_no_object_is_a_kube_error(body: bytes) -> None:
    async with serving(always(body)) as rest:
        assert (await error_of(KubeReader(rest).get("/x"))).status == 0


async def test_no_answer_in_time_is_unreachable() -> None:
    async def hangs(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{")
        while request.transport is not None:
            await asyncio.sleep(0.01)
        return response

    async with serving(hangs) as rest:
        error = await error_of(KubeReader(rest).get("/x", timeout=0.2))
    assert (error.status, error.reason) == (0, "Unreachable")


async def test_the_date_of_an_error_sets_the_clusters_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=409, headers={"Date": "Fri, 01 Jan 2100 00:00:00 GMT"})

    monkeypatch.setattr(clock, "CLUSTER", clock.ClusterClock())
    async with serving(answer) as rest:
        await error_of(KubeReader(rest).get("/x"))
    assert clock.now().year == 2100


# bounds


async def test_a_body_is_read_within_the_clients_bound() -> None:
    async with serving(always(b'{"a": "' + b"x" * 1000 + b'"}'), most_bytes=100) as rest:
        assert isinstance(await error_of(KubeReader(rest).get("/x")), TooLargeError)
        assert len(await KubeReader(rest).read("/x", {}, most=1009)) == 1009
        assert isinstance(await error_of(KubeReader(rest).read("/x", {}, most=1008)), TooLargeError)


async def _list(request: web.Request) -> web.Response:
    """Serve 12 objects of 900 kB in pages, as the API server does."""
    begin, limit = int(request.query.get("continue", 0)), int(request.query["limit"])
    items = [{"number": number, "text": "x" * 900_000} for number in range(12)][begin : begin + limit]
    token = str(begin + limit) if begin + limit < 12 else ""
    return web.json_response({"metadata": {"resourceVersion": "7", "continue": token}, "items": items})


async def test_a_page_above_4_mib_is_read_again_with_fewer_objects() -> None:
    async with serving(_list) as rest:
        items, version = await KubeReader(rest).list_with_version("/x")
    assert ([each["number"] for each in items], version) == (list(range(12)), "7")


async def test_one_object_above_the_clients_bound_is_an_error() -> None:
    async with serving(_list, most_bytes=500_000) as rest:
        assert isinstance(await error_of(KubeReader(rest).list("/x")), TooLargeError)


# watches


async def changes_of(*lines: bytes) -> list[tuple[str, Any]]:
    async with serving(always(b"\n".join(lines) + b"\n")) as rest:
        return [change async for change in KubeReader(rest).watch("/x", version="1", seconds=5)]


async def test_a_watch_yields_each_line() -> None:
    lines = [b'{"type": "ADDED", "object": {"n": %d}}' % number for number in range(3)]
    assert await changes_of(*lines) == [("ADDED", {"n": number}) for number in range(3)]


async def test_a_version_that_is_too_old_is_a_410() -> None:
    error = await error_of(changes_of(b'{"type": "ERROR", "object": {"code": 410, "message": "too old"}}'))
    assert (error.status, error.message) == (410, "too old")


async def test_an_object_above_8_mib_ends_a_watch() -> None:
    assert isinstance(await error_of(changes_of(b"x" * (9 * 2**20))), TooLargeError)


async def test_a_line_that_is_no_json_ends_a_watch() -> None:
    assert (await error_of(changes_of(b"no JSON"))).status == 0


# writes


class ForbiddenHereError(Exception):
    """Raised by a permit."""


async def test_a_write_asks_for_its_permit_and_a_read_does_not() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.headers['Authorization']}")
        return web.json_response({})

    def permit() -> None:
        raise ForbiddenHereError

    async with serving(answer) as rest:
        kube = Kube(rest, field_manager="test").writing_if(permit)
        await kube.get("/x")
        with pytest.raises(ForbiddenHereError):
            await kube.create("/x", {})
    assert asked == ["GET Bearer secret"]


async def test_each_request_is_counted_once_with_its_status() -> None:
    counted: list[tuple[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({}, status=200 if request.method == "GET" else 409)

    async with serving(answer, count=lambda method, status: counted.append((method, status))) as rest:
        kube = Kube(rest, field_manager="test")
        await kube.get("/x")
        await error_of(kube.create("/x", {}))
        async with serving(answer) as elsewhere:
            gone = elsewhere.connection.server
        lost = replace(rest, connection=replace(rest.connection, server=gone))
        await error_of(KubeReader(lost).get("/x"))
    assert counted == [("GET", "200"), ("POST", "409"), ("GET", "unreachable")]


async def test_a_write_names_its_field_manager_and_content_type() -> None:
    asked: list[tuple[str, str, bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.path_qs, request.content_type, await request.read()))
        return web.json_response({})

    async with serving(answer) as rest:
        await Kube(rest, field_manager="test").merge("/x", {"a": None})
    assert asked == [("/x?fieldManager=test", "application/merge-patch+json", b'{"a": null}')]
