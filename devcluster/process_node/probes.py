"""HTTP probes with the kubelet's rules."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from devcluster.process_node.environment import ConfigError

Object = dict[str, Any]


class Probe:
    """One probe of one container. Times are in seconds.

    Raises ConfigError when it names a port that the container does not.
    """

    def __init__(self, spec: Object, ports: list[Object], address: str) -> None:
        http = spec["httpGet"]
        host = http.get("host") or address
        scheme, path = http.get("scheme", "HTTP").lower(), http.get("path", "").lstrip("/")
        self.url = f"{scheme}://{host}:{_port(http['port'], ports)}/{path}"
        self._headers = {header["name"]: header["value"] for header in http.get("httpHeaders", [])}
        self._timeout = aiohttp.ClientTimeout(total=spec.get("timeoutSeconds", 1))
        self.initial_delay: float = spec.get("initialDelaySeconds", 0)
        self.period: float = spec.get("periodSeconds", 10)
        self.successes: int = spec.get("successThreshold", 1)
        self.failures: int = spec.get("failureThreshold", 3)

    async def passes(self, session: aiohttp.ClientSession) -> bool:
        """Ask once: 200 to 399 passes; no answer in time does not. Certificates are not checked."""
        try:
            async with session.get(
                self.url, headers=self._headers, timeout=self._timeout, allow_redirects=False, ssl=False
            ) as answer:
                return 200 <= answer.status < 400
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False


async def observe(probe: Probe, ask: Callable[[], Awaitable[bool]], verdict: Callable[[bool], bool]) -> None:
    """Ask every period, and give a verdict at each run of enough equal answers; ends when `verdict` returns False."""
    await asyncio.sleep(probe.initial_delay)
    former, run = None, 0
    while True:
        answer = await ask()
        run = run + 1 if answer == former else 1
        former = answer
        if run == (probe.successes if answer else probe.failures) and not verdict(answer):
            return
        await asyncio.sleep(probe.period)


def _port(wanted: int | str, ports: list[Object]) -> int:
    if isinstance(wanted, int):
        return wanted
    for port in ports:
        if port.get("name") == wanted:
            return int(port["containerPort"])
    raise ConfigError(f"a probe asks for port {wanted!r}, but the container names no port so")
