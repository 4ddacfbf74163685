"""The resident under test, as any client sees it: HTTP with JSON."""

import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from gpu_relay.domain.untrusted import mapping, read_object

PROBLEM = "application/problem+json"
_MOST_BYTES = 256 * 1024


class ViolationError(Exception):
    """The resident breaks its contract; the message says how."""


@dataclass(frozen=True)
class Answer:
    """An answer of the resident."""

    call: str
    status: int
    body: Mapping[str, Any]
    media_type: str
    text: str

    def expect(self, *statuses: int) -> Mapping[str, Any]:
        """Return the body of an answer with one of these statuses; an error must be a problem (RFC 9457)."""
        if self.status not in statuses:
            wanted = " or ".join(map(str, statuses))
            raise ViolationError(f"{self.call} is answered with {self.status}, not {wanted}: {self.text[:200]}")
        if self.status >= 400 and (self.media_type != PROBLEM or not isinstance(self.body.get("detail"), str)):
            raise ViolationError(
                f"{self.call}: the answer {self.status} is no {PROBLEM} with a detail: {self.text[:200]}"
            )
        return self.body


@dataclass(frozen=True)
class Turn:
    """A turn that a check plays: its holder, fence and renew key."""

    holder: str
    fence: int
    key: str = "conformance-renew-key"

    @property
    def claim(self) -> dict[str, Any]:
        """The body of a load."""
        return {"holder": self.holder, "fence": self.fence}

    def terms(self, ttl: float = 60.0, **fields: Any) -> dict[str, Any]:
        """Return the body of an unload; `ttl` is in seconds."""
        times = {"ttl_seconds": ttl, "drain_timeout_seconds": 20.0, "eta": None}
        return {**self.claim, **times, "renew_key": self.key, **fields}


class Subject:
    """A resident under test."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str, *, load_timeout: float) -> None:
        """Create the client; `load_timeout` is in seconds, and `token` is empty if control calls need none."""
        self._session = session
        self._url = url.rstrip("/")
        self.token = token
        self._timeout = load_timeout
        self._fences = itertools.count(1)
        self._numbers = itertools.count(1)

    async def begin(self) -> None:
        """Read the newest fence, so that those of the checks are newer."""
        newest = (await self.report()).get("newest_fence")
        if not isinstance(newest, int) or newest < 0:
            raise ViolationError(f"GET /api/v1/gpu: newest_fence is {newest!r}, and must be a number of 0 or more")
        self._fences = itertools.count(newest + 1)

    def next_turn(self) -> Turn:
        """Return a turn with a newer fence than all before."""
        return Turn(f"conformance/{next(self._numbers)}", next(self._fences))

    async def get(self, path: str) -> Answer:
        """Send a GET."""
        return await self._send("GET", path, None, authorized=False)

    async def post(
        self, path: str, body: object = None, *, authorized: bool = True, raw: bytes | None = None
    ) -> Answer:
        """Send a POST, with a JSON body, with these bytes, or without a body."""
        content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        return await self._send("POST", path, content, authorized=authorized)

    async def report(self) -> Mapping[str, Any]:
        """Return the report of the GPU."""
        return (await self.get("/api/v1/gpu")).expect(200)

    async def unload(self, turn: Turn, ttl: float = 60.0) -> Mapping[str, Any]:
        """Unload under a hold; return the answer."""
        return (await self.post("/api/v1/unload", turn.terms(ttl))).expect(200)

    async def load(self, turn: Turn | None) -> Mapping[str, Any]:
        """End a hold and load; return the answer."""
        return (await self.post("/api/v1/load", turn.claim if turn is not None else None)).expect(200)

    async def hold(self) -> Mapping[str, Any]:
        """Return the hold in force; empty without one."""
        return mapping((await self.report()).get("hold"))

    async def _send(self, method: str, path: str, content: bytes | None, *, authorized: bool) -> Answer:
        headers = {"Authorization": f"Bearer {self.token}"} if authorized and self.token else {}
        if content:
            headers["Content-Type"] = "application/json"
        limit, began = aiohttp.ClientTimeout(total=self._timeout), time.monotonic()
        call = f"{method} {path}"
        try:
            async with self._session.request(
                method, f"{self._url}{path}", data=content, headers=headers, timeout=limit, allow_redirects=False
            ) as answer:
                text = (await answer.content.read(_MOST_BYTES)).decode(errors="replace")
                return Answer(call, answer.status, read_object(text) or {}, answer.content_type, text)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            waited = time.monotonic() - began
            cause = f"{type(error).__name__} {error}"
            raise ViolationError(f"{call} has no answer after {waited:.1f} s: {cause}") from error
