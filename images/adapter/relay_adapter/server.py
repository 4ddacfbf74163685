"""The adapter put together: its engine, what decides about it, its proxy and its routes of control."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from fastapi import FastAPI

from relay_adapter.app import create_app
from relay_adapter.calls import EngineCalls
from relay_adapter.engine import CalledEngine
from relay_adapter.gate import Gate
from relay_adapter.process import ProcessEngine
from relay_adapter.profile import Profile
from relay_adapter.proxy import Proxy
from relay_adapter.settings import Settings
from residency import linux
from residency.api.auth import Control
from residency.coordinator import Coordinator
from residency.engine import Engine
from residency.gpu_measurement import ReadMemory
from residency.metrics import Metrics
from residency.settings import policy_of
from residency.standby import NoStandby

_OWN_HEADERS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
"""What aiohttp would add to a client's request."""


@dataclass(frozen=True)
class Adapter:
    """The parts that are served."""

    app: FastAPI
    proxy: Proxy
    coordinator: Coordinator


@asynccontextmanager
async def adapter_of(
    settings: Settings, profile: Profile, command: Sequence[str], authority: Control, read_memory: ReadMemory
) -> AsyncIterator[Adapter]:
    """Put an adapter together for a `with` block; `command` is empty for an engine that runs by itself."""
    metrics = Metrics("relay_adapter", "engine")
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=_OWN_HEADERS,
    ) as session:
        calls = EngineCalls(session, settings.engine, profile, settings.call_timeout, settings.load_calls_timeout)
        gate = Gate(profile.passive, profile.closed)
        proxy = Proxy(session, settings.engine, gate, metrics, settings.request_timeout)
        engine = _engine(settings, command, calls, proxy, read_memory)
        policy = policy_of(settings, waits=settings.while_held == "wait")
        coordinator = Coordinator(policy, engine, NoStandby(), read_memory, metrics)
        proxy.coordinator = coordinator
        yield Adapter(create_app(coordinator, authority, metrics, settings.transfer_timeout), proxy, coordinator)


def _engine(
    settings: Settings, command: Sequence[str], calls: EngineCalls, proxy: Proxy, read_memory: ReadMemory
) -> Engine:
    if not command:
        return CalledEngine(calls, read_memory, proxy.drop_requests, settings.load_timeout)
    linux.adopt_orphans()  # so that no process of the engine is lost sight of
    return ProcessEngine(command, calls, read_memory, proxy.drop_requests, settings.load_timeout, settings.kill_grace)
