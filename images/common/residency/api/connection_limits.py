"""Limits on connections that uvicorn lacks: their number, their speed, and the event loop's work for each."""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from residency.api.client_address import client_network

HEAD_SECONDS = 10.0  # from the connection, or the answer before, to the end of a request's headers
REST_SECONDS = 5.0  # for what a client still sends of a body that has been answered already
MOST_HEADERS = 100
RECEIVE_BYTES = 1 << 14  # at a time: they are parsed before any other client is served
FREE_PIECES, LEAST_PIECE_BYTES = 100, 512  # of a body in smaller pieces than this only so many are accepted
HEAD_END = re.compile(rb"\n\r?\n")
RETRY = "retry-after: 2\r\n"
_received = bytearray(RECEIVE_BYTES)  # no two connections receive at the same time


@dataclass(frozen=True)
class ConnectionLimits:
    """The most connections, in all and of one client, and the seconds that a client has to take an answer."""

    most: int
    per_client: int
    answer_seconds: float


def bounded_protocol(limits: ConnectionLimits) -> type[asyncio.Protocol]:
    """Return the protocol for uvicorn's setting `http`."""
    return type("Bounded", (_Connection,), {"limits": limits})


class _Parser(h11.Connection):
    """h11's parser with limits on headers and on tiny body pieces: each piece costs the same, however small."""

    _pieces = _bytes = 0

    def next_event(self) -> Any:
        """Return the next event; raises RemoteProtocolError."""
        if self.their_state is h11.IDLE:
            self._require_few_headers()
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._pieces = self._bytes = 0
        elif isinstance(event, h11.Data):
            self._pieces += 1
            self._bytes += len(event.data)
            if self._pieces > FREE_PIECES + self._bytes // LEAST_PIECE_BYTES:
                raise h11.RemoteProtocolError("the body arrives in too many small pieces; send larger ones", 400)
        return event

    def _require_few_headers(self) -> None:
        received, _ = self.trailing_data
        end = HEAD_END.search(received)
        if received.count(b"\n", 0, end.start() if end else len(received)) > MOST_HEADERS:
            raise h11.RemoteProtocolError(f"the request has more than {MOST_HEADERS} headers", 400)


class _Connection(H11Protocol, asyncio.BufferedProtocol):
    """One connection. It is ended when its client takes too long for headers, for the rest of a body, or an answer."""

    limits: ConnectionLimits

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.conn = _Parser(h11.SERVER)
        self._awaited: float | None = None
        self._reading, self._writing = _Timer(), _Timer()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Accept a connection, unless there are too many."""
        super().connection_made(transport)
        client = _client(self)
        if len(self.connections) > self.limits.most:
            self._refuse(503, f"{self.limits.most} connections are open, as many as this server takes")
        elif sum(_client(each) == client for each in self.connections) > self.limits.per_client:
            self._refuse(429, f"{self.limits.per_client} connections of this client are open, as many as each may have")
        else:
            self._set_deadline()

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return where to receive the next bytes."""
        return _received

    def buffer_updated(self, nbytes: int) -> None:
        """Process the received bytes."""
        self.data_received(bytes(_received[:nbytes]))
        self._set_deadline()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, unless an answer has begun already, and close the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._refuse(400, msg)
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        """Start the client's time to receive the answer."""
        super().pause_writing()
        if not self._writing.runs:
            self._writing.start(self.limits.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Resume; the time limit is that of the whole answer."""
        super().resume_writing()
        if self.cycle is None or self.cycle.response_complete:
            self._writing.stop()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of this one."""
        super().on_response_complete()
        if not self.flow.write_paused:
            self._writing.stop()
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers of the connection."""
        self._reading.stop()
        self._writing.stop()
        super().connection_lost(exc)

    def _set_deadline(self) -> None:
        """Set the deadline for what the client is to send next; bytes that do not complete it do not extend it."""
        seconds_left: float | None = None
        if self.conn.their_state is h11.IDLE:
            seconds_left = HEAD_SECONDS
        elif self.conn.their_state is h11.SEND_BODY and self.cycle is not None and self.cycle.response_complete:
            seconds_left = REST_SECONDS
        if seconds_left == self._awaited:
            return
        self._awaited = seconds_left
        self._reading.stop()
        if seconds_left is not None and not self.transport.is_closing():
            self._reading.start(seconds_left, self.transport.abort)

    def _refuse(self, status: int, detail: str) -> None:
        title = HTTPStatus(status).phrase
        body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}).encode()
        head = (
            f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
            f"{'' if status == 400 else RETRY}connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def _client(connection: Any) -> str:
    return client_network(connection.client[0]) if connection.client else "unknown"


class _Timer:
    """Calls something later, unless it is stopped before."""

    def __init__(self) -> None:
        self._handle: asyncio.TimerHandle | None = None

    @property
    def runs(self) -> bool:
        return self._handle is not None

    def start(self, seconds: float, call: Callable[[], None]) -> None:
        self._handle = asyncio.get_running_loop().call_later(seconds, call)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
