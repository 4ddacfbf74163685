"""What hostile, slow and careless clients send: each is cheap for them, and none may cost others anything."""

import base64
import contextlib
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx

MIB = 1 << 20
ATTACKER, HONEST = "10.66.0.1", "10.1.0.1"
SEGMENT, CONCEPT = "/api/v1/segment", "/sam3/concept_segment"
JSON = {"content-type": "application/json"}
PATIENCE = 300.0


def senseless_prompts(count: int = 1_600_000) -> bytes:
    """Some 3 MiB of prompts that are none."""
    return b'{"image": "", "prompts": [' + b"1," * count + b"1]}"


def valid_prompts(count: int = 250_000) -> bytes:
    """Some 1 MiB of prompts that make sense, and are too many."""
    return b'{"image": "", "prompts": [' + b'"a",' * count + b'"a"]}'


def senseless_boxes(count: int = 200_000) -> bytes:
    """Some 0.6 MiB of boxes that are none."""
    boxes = b"{}," * count + b"{}"
    return b'{"image": {"type": "base64", "value": ""}, "prompts": [{"type": "visual", "boxes": [' + boxes + b"]}]}"


def nested(size: int = 40 * MIB) -> bytes:
    """As many brackets as a body may have."""
    return b"[" * size


def long_text(size: int = 40 * MIB) -> bytes:
    """A prompt as long as a body may be."""
    return b'{"image": "QUJD", "prompts": ["' + b"x" * size + b'"]}'


def _chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack("!I", len(body)) + kind + body + struct.pack("!I", zlib.crc32(kind + body))


def _png(width: int, height: int, more: bytes, rows: bytes) -> bytes:
    head = _chunk(b"IHDR", struct.pack("!IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + more + _chunk(b"IDAT", rows) + _chunk(b"IEND")


def empty_chunks(mib: int = 17) -> bytes:
    """A PNG of 8 x 8 pixels, and a million chunks without content before them."""
    empty = _chunk(b"aaAa")
    return _png(8, 8, empty * (mib * MIB // len(empty)), zlib.compress(b"\0" * 72))


def thin(pixels: int = 100_000) -> bytes:
    """A PNG one pixel wide."""
    return _png(1, pixels, b"", zlib.compress(bytes(2 * pixels), 1))


def as_json(image: bytes) -> bytes:
    """A request about an image."""
    return json.dumps({"image": base64.b64encode(image).decode(), "prompts": ["cat"]}).encode()


def send(url: str, path: str, body: bytes, client: str = ATTACKER) -> httpx.Response:
    """Send a body as a client that a proxy on this machine speaks for."""
    headers = JSON | {"x-forwarded-for": client}
    return httpx.post(url + path, content=body, headers=headers, timeout=PATIENCE, verify=False)


@contextmanager
def meanwhile(count: int, attack: Callable[[], Any]) -> Iterator[list[Any]]:
    """Attack so many times at a time for the length of a `with` block; what came of each is in the list after it."""
    results: list[Any] = []
    with ThreadPoolExecutor(count) as threads:
        attacks = [threads.submit(attack) for _ in range(count)]
        yield results
        results += [each.result() for each in attacks]


class Slow:
    """Connections that announce large bodies, send some of each, and then a byte now and then."""

    def __init__(self, port: int, count: int, announced: int = 40 * MIB, sent: int = 4 * MIB) -> None:
        self._most = sent
        self._open = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) for _ in range(count)]
        head = (
            f"POST {SEGMENT} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {ATTACKER}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {announced}\r\n\r\n"
        ).encode()
        for connection in self._open:
            connection.sendall(head)
            connection.setblocking(False)
        self._left = dict.fromkeys(self._open, sent)
        self._over = threading.Event()
        self._sending = threading.Thread(target=self._trickle, daemon=True)

    def __enter__(self) -> "Slow":
        self._sending.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._sending.join()
        for connection in self._open:
            connection.close()

    def _trickle(self) -> None:
        piece = b" " * (1 << 18)
        while not self._over.wait(0.02):
            for connection, left in self._left.items():
                with contextlib.suppress(OSError):
                    self._left[connection] -= connection.send(piece[: max(1, min(left, len(piece)))])

    @property
    def sent(self) -> int:
        """Bytes that the server, or the kernel for it, has taken, as far as they were more than trickles."""
        return sum(max(0, self._most - left) for left in self._left.values())


def crumbs(port: int, size: int = MIB) -> int:
    """Send a body byte by byte, as chunks, and return the answer's status."""
    head = (
        f"POST {SEGMENT} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {ATTACKER}\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(head.encode() + b"1\r\n \r\n" * size + b"0\r\n\r\n")
        with contextlib.suppress(OSError):
            return int(connection.recv(4096).split()[1])
    return 0


def announce(port: int, path: str, size: int) -> tuple[int, float]:
    """Announce a body, send nothing of it, and return the answer's status and how many seconds it took."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(head.encode())
        answer = connection.recv(4096)
    return int(answer.split()[1]), time.monotonic() - began
