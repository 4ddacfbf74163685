"""Clients of the SAM3 server that send a whole request and leave before its answer."""

import base64
import json
import socket
from typing import Any

from devcluster.programs.sam3 import TEXT

PROMPTS = [{"text": "cat"}, {"text": "red dog"}]
SEGMENT: tuple[str, dict[str, Any]] = ("/api/v1/segment", {"image": TEXT, "prompts": PROMPTS, "threshold": 0})
CONCEPT: tuple[str, dict[str, Any]] = (
    "/sam3/concept_segment",
    {"image": {"type": "base64", "value": TEXT}, "prompts": PROMPTS},
)


def with_image(image: bytes, prompts: list[str]) -> tuple[str, dict[str, Any]]:
    """Return a request for polygons of everything on an image."""
    text = base64.b64encode(image).decode()
    return "/api/v1/segment", {"image": text, "prompts": prompts, "threshold": 0, "format": "polygon"}


def post(port: int, path: str, body: dict[str, Any]) -> socket.socket:
    """Send a request and return its connection, without reading an answer."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: sam3\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(content)}\r\n\r\n"
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(head.encode() + content)
    return connection


def leave(connections: list[socket.socket]) -> None:
    """Close every connection."""
    for connection in connections:
        connection.close()
