"""Residents and trainers of a run, in one process: `python -m bench.scale.actors --residents N --log FILE`.

Resident i listens on 127.9.<i // 250>.<i % 250 + 1>, port 8000, and follows the resident's contract; loading and
unloading take no time, so that what is seen is the operator's. All trainers answer at one address.
"""

import argparse
import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from bench.scale.stages import TRAINER

_TOTAL, _RESERVED, _MODEL = 15_360, 450, 14_000
PORT = 8000
_TRAINER_PORT = 8080


def address(number: int) -> str:
    """Return the address of a resident."""
    return f"127.9.{number // 250}.{number % 250 + 1}"


def uuid(number: int) -> str:
    """Return the UUID of a resident's GPU."""
    return f"GPU-00000000-0000-0000-0000-{number:012d}"


@dataclass
class Resident:
    """One resident's state."""

    number: int
    log: "Log"
    loaded: bool = True
    hold: dict[str, Any] | None = None
    until: float = 0.0

    def app(self) -> web.Application:
        """Return its server."""
        app = web.Application()
        app.router.add_get("/api/v1/gpu", self._gpu)
        app.router.add_post("/api/v1/unload", self._unload)
        app.router.add_post("/api/v1/load", self._load)
        return app

    async def _gpu(self, _: web.Request) -> web.Response:
        used = _MODEL if self.loaded else 0
        hold = None
        if self.hold is not None:
            rest = max(0.0, self.until - time.monotonic())
            hold = {"holder": self.hold["holder"], "fence": self.hold["fence"], "expires_in_seconds": rest, "eta": None}
        return web.json_response(
            {
                "uuid": uuid(self.number), "name": "Tesla T4", "total_mib": _TOTAL, "reserved_mib": _RESERVED,
                "used_mib": used, "free_mib": _TOTAL - _RESERVED - used, "need_mib": _MODEL,
                "worker_allocated_mib": used, "worker_cap_mib": _MODEL, "in_flight": 0, "idle_seconds": 3600.0,
                "refused": 0, "model_loaded": self.loaded, "state": "loaded" if self.loaded else "unloaded",
                "hold": hold,
            }
        )  # fmt: skip

    async def _unload(self, request: web.Request) -> web.Response:
        body = await request.json()
        freed = _MODEL if self.loaded else 0
        self.loaded, self.hold, self.until = False, body, time.monotonic() + body["ttl_seconds"]
        self.log.write("unload", self.number)
        free = _TOTAL - _RESERVED
        return web.json_response({"success": True, "message": "", "gpu_freed_mb": freed, "gpu_free_mb": free})

    async def _load(self, _: web.Request) -> web.Response:
        self.loaded, self.hold = True, None
        self.log.write("load", self.number)
        return web.json_response({"success": True, "message": "", "model_loaded": True})


@dataclass
class Log:
    """One line of JSON for each unload and load: when (seconds since the epoch), what, which resident."""

    file: Path
    lines: list[str] = field(default_factory=list)

    def write(self, what: str, number: int) -> None:
        """Add a line."""
        self.lines.append(json.dumps([time.time(), what, number]))

    def flush(self) -> None:
        """Write what was added."""
        self.file.write_text("\n".join(self.lines))


async def _progress(_: web.Request) -> web.Response:
    return web.json_response({"stage": "training", "epoch": 1, "epochs": 2, "metrics": {}, "eta_seconds": None})


async def _serve(app: web.Application, host: str, port: int) -> None:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()


async def _main(residents: int, log: Log) -> None:
    for number in range(residents):
        await _serve(Resident(number, log).app(), address(number), PORT)
    trainers = web.Application()
    trainers.router.add_get("/progress", _progress)
    await _serve(trainers, TRAINER, _TRAINER_PORT)
    while True:
        await asyncio.sleep(1)
        log.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--residents", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    options = parser.parse_args()
    asyncio.run(_main(options.residents, Log(options.log)))
