"""JSON over HTTP to residents and trainers, with limits of time and size: their responses are not trusted."""

from typing import Any

import aiohttp

from gpu_relay.domain.untrusted import read_object

_MAX_BYTES = 256 * 1024
_LONGEST_DETAIL = 500


def open_session() -> aiohttp.ClientSession:
    """Return a session for calls to residents and trainers: without cookies, and without decompression."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)


class UnavailableError(Exception):
    """There was no response, or one that is not JSON or not 200. The message has the cause."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


async def call(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    timeout: float,
    body: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Send a request and return the JSON object of a 200. Raises UnavailableError for everything else."""
    limit = aiohttp.ClientTimeout(total=timeout, connect=min(timeout, 5.0))
    try:
        async with session.request(
            method, url, json=body, headers=headers, timeout=limit, allow_redirects=False
        ) as answer:
            raw = await _body(answer)
            status = answer.status
    except TimeoutError as error:
        raise UnavailableError(f"no answer within {timeout:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise UnavailableError(f"{type(error).__name__}: {error}"[:_LONGEST_DETAIL]) from error
    payload = None if raw is None else read_object(raw)
    if status != 200:
        texts = [(payload or {}).get(name) for name in ("detail", "title")]
        detail = next((text for text in texts if isinstance(text, str) and text), "no explanation")
        raise UnavailableError(f"{status}: {detail[:_LONGEST_DETAIL]}", status)
    if payload is None:
        raise UnavailableError("the response is not a JSON object, or too large")
    return payload


async def _body(answer: aiohttp.ClientResponse) -> bytes | None:
    """Read a body to its end; None if it is larger than `_MAX_BYTES`."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > _MAX_BYTES:
            return None
    return bytes(body)
