"""JSON over HTTP to residents and trainers: bounded in time and size, because their answers are not trusted."""

from typing import Any

import aiohttp

from gpu_relay.domain.untrusted import read_object

_MAX_BYTES = 256 * 1024
_MOST_WORDS = 500


def open_session() -> aiohttp.ClientSession:
    """Return a session for calls to residents and trainers: it keeps no cookies, and unpacks nothing."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)


class UnavailableError(Exception):
    """The other side did not answer, or not with JSON. The message says what was tried and what came back."""

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
    """Send a request and return the JSON object of a 200; UnavailableError for everything else."""
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
        raise UnavailableError(f"{type(error).__name__}: {error}"[:_MOST_WORDS]) from error
    payload = None if raw is None else read_object(raw)
    if status != 200:
        said = [(payload or {}).get(name) for name in ("detail", "title")]
        words = next((text for text in said if isinstance(text, str) and text), "no explanation")
        raise UnavailableError(f"{status}: {words[:_MOST_WORDS]}", status)
    if payload is None:
        raise UnavailableError("the answer is no JSON object or too large")
    return payload


async def _body(answer: aiohttp.ClientResponse) -> bytes | None:
    """Read a body to its end; None where it is larger than an answer has any reason to be."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > _MAX_BYTES:
            return None
    return bytes(body)
