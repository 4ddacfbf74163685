"""WebSockets, message by message, in both directions."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import WSMessage, WSMsgType, web
from multidict import CIMultiDict
from yarl import URL

from residency.errors import LoadError

ABNORMAL = 1011
_HANDSHAKE = "Sec-WebSocket-"
End = aiohttp.ClientWebSocketResponse | web.WebSocketResponse


def is_asked_for(request: web.BaseRequest) -> bool:
    """Whether a request asks for a WebSocket."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


async def connect(
    request: web.BaseRequest, session: aiohttp.ClientSession, url: URL, headers: "CIMultiDict[str]"
) -> aiohttp.ClientWebSocketResponse:
    """Connect to the engine with the protocols that the client offers; raises LoadError."""
    offered = [each.strip() for each in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if each.strip()]
    own = CIMultiDict((name, value) for name, value in headers.items() if not name.startswith(_HANDSHAKE))
    try:
        return await session.ws_connect(url, headers=own, protocols=offered, autoping=False, max_msg_size=0)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise LoadError(f"the engine accepts no WebSocket here: {error}") from error


def accepted(engine: aiohttp.ClientWebSocketResponse) -> web.WebSocketResponse:
    """Return the client's side, with the protocol that the engine has chosen."""
    chosen = (engine.protocol,) if engine.protocol else ()
    return web.WebSocketResponse(protocols=chosen, autoping=False, max_msg_size=0)


async def relay(engine: aiohttp.ClientWebSocketResponse, client: web.WebSocketResponse) -> None:
    """Pass messages on until either side closes, and close both."""
    try:
        await _until_one_closes(engine, client)
    finally:
        await client.close(code=engine.close_code or ABNORMAL)


async def _until_one_closes(engine: aiohttp.ClientWebSocketResponse, client: web.WebSocketResponse) -> None:
    ways = {asyncio.create_task(_pass_on(engine, client)), asyncio.create_task(_pass_on(client, engine))}
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in ways:
            each.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _pass_on(sender: End, receiver: End) -> None:
    async for message in _messages(sender):
        match message.type:
            case WSMsgType.TEXT:
                await receiver.send_str(message.data)
            case WSMsgType.BINARY:
                await receiver.send_bytes(message.data)
            case WSMsgType.PING:
                await receiver.ping(message.data)
            case WSMsgType.PONG:
                await receiver.pong(message.data)


async def _messages(end: End) -> AsyncIterator[WSMessage]:
    async for message in end:
        yield message
