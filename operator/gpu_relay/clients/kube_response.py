"""Reads the body of a response of the Kubernetes API, within bounds."""

import json
from collections.abc import AsyncIterator

import aiohttp

from gpu_relay.clients.kube_error import Object, TooLargeError

_LONGEST_LINE = 8 * 2**20


async def read_body(response: aiohttp.ClientResponse, most: int | None) -> bytes:
    """Return a body; TooLargeError if it has more than `most` bytes, without reading the rest."""
    if most is None:
        return await response.read()
    body = await read_start(response, most + 1)
    if len(body) > most:
        raise TooLargeError(most)
    return body


async def read_start(response: aiohttp.ClientResponse, most: int) -> bytes:
    """Return a body, or its first `most` bytes."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) >= most:
            break
    return bytes(body[:most])


async def lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the lines of a body as they come; TooLargeError for one of more than 8 MiB."""
    rest = b""
    async for part in response.content.iter_any():
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            if line:
                yield line
        if len(rest) > _LONGEST_LINE:
            raise TooLargeError(_LONGEST_LINE)


def object_of(raw: bytes) -> Object:
    """Return the JSON object that a body is, an empty one for no body; ValueError for anything else."""
    value = json.loads(raw or b"{}")
    if not isinstance(value, dict):
        raise ValueError("the response is not a JSON object")  # noqa: TRY004 - as json.loads does
    return value
