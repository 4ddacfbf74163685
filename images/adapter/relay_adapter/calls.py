"""The calls of a profile to the engine."""

import asyncio
import json
import logging
from typing import Any

import aiohttp

from relay_adapter.profile import Call, Check, Profile

log = logging.getLogger(__name__)
POLL_SECONDS = 0.2
MOST_BYTES = 1 << 20
SHOWN = 300


class EngineError(Exception):
    """The engine does not answer a call, or refuses it. The message names the call."""


class EngineCalls:
    """Calls one engine at `url`; `timeout` is in seconds, and so is `load_timeout`, of a call that loads the model."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, profile: Profile, timeout: float, load_timeout: float
    ) -> None:
        self.profile = profile
        self._session = session
        self._url = url
        self._timeout = timeout
        self._load_timeout = load_timeout

    async def ready(self) -> bool:
        """Whether the engine takes requests."""
        try:
            await self._send(self.profile.ready, self._timeout)
        except EngineError as error:
            log.debug("not ready: %s", error)
            return False
        return True

    async def wait_until_ready(self, seconds: float) -> bool:
        """Wait until the engine takes requests; return False after so many seconds."""
        return await self._wait(self.ready, seconds)

    async def abort(self) -> None:
        """End what the engine computes. Errors are logged: the unload shows whether it is at rest."""
        for call in self.profile.abort:
            try:
                await self._send(call, self._timeout)
            except EngineError as error:
                log.warning("%s", error)

    async def unload(self) -> None:
        """Have the engine let go of the GPU, and wait until it says so. Raises EngineError."""
        for call in self.profile.unload:
            await self._send(call, self._timeout)
        check = self.profile.unloaded
        if check is not None and not await self._wait(lambda: self.is_true(check), self._timeout):
            raise EngineError(f"the engine still has the model, by {_named(check.call)}, {self._timeout:g} s later")

    async def load(self) -> None:
        """Have the engine load its model, and wait until it answers. Raises EngineError."""
        for call in self.profile.load:
            await self._send(call, self._load_timeout)
        check = self.profile.loaded
        if check is not None and self.profile.load and not await self._wait(lambda: self.is_true(check), self._timeout):
            raise EngineError(f"the engine does not have the model, by {_named(check.call)}, after the load")
        if self.profile.probe is not None:
            await self._send(self.profile.probe, self._load_timeout)

    async def is_true(self, check: Check) -> bool:
        """Ask the engine. Raises EngineError."""
        body = await self._send(check.call, self._timeout)
        try:
            found = _field(json.loads(body), check.field)
        except (ValueError, LookupError, TypeError) as error:
            raise EngineError(f"{_named(check.call)} has no field {check.field}: {_shown(body)}") from error
        if check.contains is not None:
            wanted = check.contains
            return isinstance(found, list) and any(
                isinstance(each, dict) and all(each.get(key) == value for key, value in wanted.items())
                for each in found
            )
        if check.empty is not None:
            return isinstance(found, list) and (not found) == check.empty
        return bool(found == check.equals)

    async def _wait(self, condition: Any, seconds: float) -> bool:
        """Poll a condition; an engine that does not answer now may do so later."""
        until = asyncio.get_running_loop().time() + seconds
        while True:
            try:
                if await condition():
                    return True
            except EngineError as error:
                log.debug("%s", error)
            if asyncio.get_running_loop().time() >= until:
                return False
            await asyncio.sleep(POLL_SECONDS)

    async def _send(self, call: Call, seconds: float) -> bytes:
        limit = aiohttp.ClientTimeout(total=seconds)
        content = {} if call.body is None else {"json": call.body}
        try:
            async with self._session.request(
                call.method,
                f"{self._url}{call.path}",
                headers=call.headers,
                timeout=limit,
                allow_redirects=False,
                **content,
            ) as answer:
                body = await answer.content.read(MOST_BYTES)
                if answer.status not in call.accept:
                    raise EngineError(f"{_named(call)} is answered with {answer.status}: {_shown(body)}{self._hint()}")
                return body
        except TimeoutError as error:
            raise EngineError(f"{_named(call)} has no answer after {seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineError(f"{_named(call)} has no answer: {error}") from error

    def _hint(self) -> str:
        return f" ({self.profile.hint})" if self.profile.hint else ""


def _named(call: Call) -> str:
    return f"the engine's {call.method} {call.path}"


def _shown(body: bytes) -> str:
    return body[:SHOWN].decode(errors="replace").strip() or "nothing"


def _field(value: Any, path: str) -> Any:
    for part in filter(None, path.split(".")):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value
