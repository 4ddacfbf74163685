"""Reads the body of a response of the Kubernetes API."""

import json
from typing import Any

from kubernetes.aio.client import rest

_CHUNK = 256 * 1024


class PageTooLargeError(Exception):
    """A page of a list has more bytes than are read at once."""


async def read_body(answer: rest.RESTResponse, most: int | None) -> bytes:
    """Return the body of a response; PageTooLargeError where it is larger, without reading the rest."""
    if most is None:
        return bytes(await answer.read())
    parts, size = [], 0
    async for part in answer.response.content.iter_chunked(_CHUNK):
        parts.append(part)
        size += len(part)
        if size > most:
            answer.response.close()
            raise PageTooLargeError
    return b"".join(parts)


def payload_of(status: int, raw: bytes) -> dict[str, Any]:
    """Read a response; errors of paths that the API server does not know come as plain text."""
    try:
        return dict(json.loads(raw or b"{}"))
    except json.JSONDecodeError:
        if status < 400:
            raise
        return {"message": raw.decode(errors="replace").strip()}
