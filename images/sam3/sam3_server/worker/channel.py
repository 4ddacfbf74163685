"""A child process's end of its socket: requests of the server in, replies out."""

import select
import socket

from sam3_server.worker.protocol import HEADER, REQUESTS, Cancel, Reply, Request, head


class Channel:
    """Reads and writes frames, blocking. One request is served at a time, in order."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream

    def receive(self) -> tuple[Request, bytearray] | None:
        """Return the next request and its raw bytes, or None once the server has closed its end."""
        while (frame := self._frame()) is not None:
            if not isinstance(frame[0], Cancel):  # a late one is about a request that has its reply already
                return frame
        return None

    def reply(self, reply: Reply, payload: bytes) -> None:
        """Answer the current request."""
        self._stream.sendall(head(reply, len(payload)))
        self._stream.sendall(payload)

    def cancelled(self) -> bool:
        """Whether the client has disconnected, or the server has ended: nothing else arrives before a reply."""
        ready, _, _ = select.select([self._stream], [], [], 0)
        if ready:
            self._frame()
        return bool(ready)

    def _frame(self) -> tuple[Request, bytearray] | None:
        try:
            message_size, payload_size = HEADER.unpack(self._read(HEADER.size))
            return REQUESTS.validate_json(bytes(self._read(message_size))), self._read(payload_size)
        except EOFError:
            return None

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        view, filled = memoryview(data), 0
        while filled < size:
            count = self._stream.recv_into(view[filled:], 0, socket.MSG_WAITALL)
            if not count:
                raise EOFError
            filled += count
        return data
