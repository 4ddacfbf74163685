"""What the relay adapter costs: the same requests to an engine directly and through the adapter, in turns in one run.

    python -m bench.adapter [--requests 3000]

The engine is scripted, in a process of its own; each request waits there for so many milliseconds.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp

import gpu_memory
from devcluster.programs.adapter import AdapterProcess, free_port
from devcluster.waiting import eventually

_BODY = bytes(1024)
_ENGINE_MS = 20
_CLIENTS = 8
_ROUNDS = 5


async def _sequential(session: aiohttp.ClientSession, url: str, requests: int) -> list[float]:
    """Return the seconds of each request, one after the other, at an engine that answers at once."""
    taken = []
    for _ in range(requests):
        began = time.perf_counter()
        async with session.post(f"{url}/v1/echo", data=_BODY) as answer:
            assert len(await answer.read()) == len(_BODY)
        taken.append(time.perf_counter() - began)
    return taken


async def _throughput(session: aiohttp.ClientSession, url: str, requests: int) -> float:
    """Return requests per second of several clients, at an engine that needs 20 ms for each."""

    async def client() -> None:
        for _ in range(requests // _CLIENTS):
            async with session.post(f"{url}/v1/echo", params={"ms": _ENGINE_MS}, data=_BODY) as answer:
                await answer.read()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(_CLIENTS)))
    return requests / (time.perf_counter() - began)


async def _measure(direct: str, proxied: str, requests: int) -> None:
    latencies: dict[str, list[float]] = {direct: [], proxied: []}
    rates: dict[str, list[float]] = {direct: [], proxied: []}
    async with aiohttp.ClientSession() as session:
        for url in (direct, proxied):
            await _sequential(session, url, 50)
        for number in range(_ROUNDS):
            for url in (direct, proxied) if number % 2 else (proxied, direct):
                latencies[url] += await _sequential(session, url, requests // _ROUNDS)
                rates[url].append(await _throughput(session, url, requests // _ROUNDS))
    for name, url in (("direct", direct), ("through the adapter", proxied)):
        p50, p99 = _milliseconds(latencies[url])
        print(f"{name:20} p50 {p50:6.2f} ms  p99 {p99:6.2f} ms  {statistics.median(rates[url]):7.1f} requests/s")
    overhead = _milliseconds(latencies[proxied])[0] - _milliseconds(latencies[direct])[0]
    share = statistics.median(rates[proxied]) / statistics.median(rates[direct])
    print(
        f"overhead: p50 {overhead:.2f} ms; throughput {share:.1%} of direct ({_CLIENTS} clients, {_ENGINE_MS} ms each)"
    )


def _milliseconds(taken: Sequence[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(taken, n=100)
    return cuts[49] * 1e3, cuts[98] * 1e3


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3000, help="requests of each kind and way (default: 3000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        token, port = Path(folder) / "token", free_port()
        token.write_text("bench")
        (Path(folder) / "gpu").mkdir()
        ledger = gpu_memory.create_ledger(Path(folder) / "gpu")
        command = [sys.executable, "-m", "devcluster.scripted.engine_process", str(port)]
        engine = subprocess.Popen(command, env={**os.environ, **ledger.environment})
        direct = f"http://127.0.0.1:{port}"
        adapter = AdapterProcess(
            ledger, token, profile="vllm", engine=direct,
            settings={"MAX_IN_FLIGHT": "64", "MAX_PER_CLIENT": "64", "LOG_LEVEL": "warning"},
        )  # fmt: skip
        try:
            eventually(lambda: adapter.report()["model_loaded"], "the engine to be seen")
            asyncio.run(_measure(direct, adapter.proxy_url, options.requests))
        finally:
            adapter.end()
            engine.kill()
            engine.wait()


if __name__ == "__main__":
    main()
