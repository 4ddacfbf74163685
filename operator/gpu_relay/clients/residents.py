"""The client of the resident's API: report, unload with a hold, load."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from gpu_relay.clients.http import UnavailableError, call
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.resident import GpuReport, report_of
from gpu_relay.domain.quantities import mib
from gpu_relay.observability.metrics import RESIDENT_REQUESTS


@dataclass(frozen=True)
class Limits:
    """Time limits of calls, and the times of an unload request. All are in seconds."""

    request: float = 30.0
    drain: float = 20.0
    hold_ttl: float = 60.0
    measure: float = 5.0
    load: float = 300.0


class ResidentClient:
    """A client of residents. Every failure is an UnavailableError, which quotes the resident."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        token_file: Path | None,
        limits: Limits,
        permit: Callable[[], None] = lambda: None,
    ) -> None:
        """Create a client. `permit` is called before each write, and raises if this process may not write."""
        self._session = session
        self._permit = permit
        self._token_file = token_file
        self._limits = limits

    async def report(self, url: str) -> GpuReport:
        """Return the resident's report, with the free memory that NVML measures now. Raises UnavailableError."""
        answer = await self._call("report", "GET", f"{url}/api/v1/gpu", None, self._limits.measure)
        try:
            return report_of(answer)
        except ValueError as error:
            raise UnavailableError(str(error)) from error

    async def unload(self, url: str, lease: GpuLease, eta: str | None) -> str:
        """Place or renew the hold of a turn, which unloads the resident; return a sentence with the measured memory."""
        body = {
            "holder": lease.holder,
            "fence": lease.fence,
            "ttl_seconds": self._limits.hold_ttl,
            "drain_timeout_seconds": self._limits.drain,
            "renew_key": lease.renew_key,
            "eta": eta,
        }
        started = time.monotonic()
        answer = await self._call("unload", "POST", f"{url}/api/v1/unload", body, self._limits.request)
        return _sentence(answer, time.monotonic() - started)

    async def load(self, url: str, holder: str, fence: int) -> None:
        """End the turn's hold and load; return when the resident has answered a probe inference."""
        await self._call("load", "POST", f"{url}/api/v1/load", {"holder": holder, "fence": fence}, self._limits.load)

    async def _call(
        self, name: str, method: str, url: str, body: dict[str, Any] | None, timeout: float
    ) -> dict[str, Any]:
        if method != "GET":
            self._permit()
        try:
            answer = await call(self._session, method, url, timeout=timeout, body=body, headers=self._headers())
        except UnavailableError as error:
            RESIDENT_REQUESTS.labels(name, str(error.status or "unreachable")).inc()
            raise
        RESIDENT_REQUESTS.labels(name, "200").inc()
        return answer

    def _headers(self) -> dict[str, str]:
        """Return the headers. The token is read each time: the kubelet rotates it."""
        if self._token_file is None:
            return {}
        try:
            return {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}
        except OSError as error:
            raise UnavailableError(
                f"the operator cannot read its token for residents, {self._token_file}: {error}"
            ) from error


def _sentence(answer: dict[str, Any], seconds: float) -> str:
    freed, free = answer.get("gpu_freed_mb"), answer.get("gpu_free_mb")
    if not isinstance(freed, int) or not isinstance(free, int):
        return f"the resident unloaded in {seconds:.1f} s"
    return f"the resident freed {mib(freed)} in {seconds:.1f} s; {mib(free)} are free"
