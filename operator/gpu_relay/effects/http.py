"""JSON over HTTP to residents and trainers: bounded in time and size, because their answers are not trusted."""

import json
from typing import Any

import aiohttp

_MAX_BYTES = 256 * 1024


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
            raw = await answer.content.read(_MAX_BYTES + 1)
            status = answer.status
    except TimeoutError as error:
        raise UnavailableError(f"no answer within {timeout:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise UnavailableError(f"{type(error).__name__}: {error}") from error
    payload = _object(raw)
    if status != 200:
        detail = (payload or {}).get("detail") or (payload or {}).get("title") or "no explanation"
        raise UnavailableError(f"{status}: {str(detail)[:500]}", status)
    if payload is None:
        raise UnavailableError("the answer is no JSON object or too large")
    return payload


def _object(raw: bytes) -> dict[str, Any] | None:
    if len(raw) > _MAX_BYTES:
        return None
    try:
        payload = json.loads(raw)
    except ValueError:
        return None
    return payload if isinstance(payload, dict) else None
