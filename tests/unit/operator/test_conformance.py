"""The conformance checks pass a resident that keeps its contract, and find each way to break it."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gpu_relay.conformance import checks, runner
from gpu_relay.conformance.subject import ViolationError

TOKEN = "secret"
TOTAL, RESERVED, MODEL = 15360, 450, 14000
FLAWS = {
    "a state of its own": "reports its health",
    "memory that does not add up": "reports the GPU's memory",
    "no token needed": "only for those with a token",
    "memory stays": "frees memory",
    "key shown": "frees memory",
    "loads while held": "stays unloaded",
    "hold stays after load": "ends the hold and loads",
    "any key renews": "renews a hold",
    "repetition keeps the ttl": "renews a hold",
    "old fences pass": "orders of other turns",
    "any holder loads": "orders of other turns",
    "holds stay": "is not renewed",
    "no validation": "refuses invalid bodies",
    "errors are HTML": "only for those with a token",
    "loses a fence at the same time": "many clients",
}
"""Ways to break the contract, each with words of the check that finds it."""


@dataclass
class Resident:
    """A resident that keeps the contract, but for one flaw."""

    flaw: str = ""
    loaded: bool = True
    newest: tuple[int, str] = (0, "")
    hold: dict[str, Any] | None = None

    def app(self) -> web.Application:
        """Return the application that serves it."""
        app = web.Application()
        app.router.add_get("/health", self.health)
        app.router.add_get("/api/v1/gpu", self.gpu)
        app.router.add_post("/api/v1/unload", self.unload)
        app.router.add_post("/api/v1/load", self.load)
        app.router.add_post("/api/v1/hold/renew", self.renew)
        return app

    def problem(self, status: int, detail: str) -> web.Response:
        """Answer with an error."""
        if self.flaw == "errors are HTML":
            return web.Response(status=status, text="<h1>no</h1>", content_type="text/html")
        body = {"title": "no", "status": status, "detail": detail}
        return web.json_response(body, status=status, content_type="application/problem+json")

    def present(self) -> dict[str, Any] | None:
        """Return the hold in force."""
        if self.hold is not None and time.monotonic() >= self.hold["until"] and self.flaw != "holds stay":
            self.hold, self.loaded = None, True
        return self.hold

    def shown(self) -> dict[str, Any] | None:
        """Return the hold as clients see it."""
        hold = self.present()
        if hold is None:
            return None
        left = {"expires_in_seconds": hold["until"] - time.monotonic(), "eta": None}
        key = {"renew_key": hold["renew_key"]} if self.flaw == "key shown" else {}
        return {"holder": hold["holder"], "fence": hold["fence"], **left, **key}

    async def health(self, request: web.Request) -> web.Response:
        """Answer `GET /health`."""
        state = "asleep" if self.flaw == "a state of its own" else self.state
        return web.json_response({"status": "ok", "model_loaded": self.loaded, "state": state, "hold": self.shown()})

    @property
    def state(self) -> str:
        """The state of the model."""
        return "loaded" if self.loaded else "unloaded"

    @property
    def used(self) -> int:
        """MiB in use."""
        return MODEL if self.loaded or self.flaw == "memory stays" else 0

    async def gpu(self, request: web.Request) -> web.Response:
        """Answer `GET /api/v1/gpu`."""
        hold = self.shown()
        if self.flaw == "loads while held" and hold is not None:
            self.loaded = True
        free = TOTAL if self.flaw == "memory that does not add up" else TOTAL - RESERVED - self.used
        memory = {"total_mib": TOTAL, "used_mib": self.used, "reserved_mib": RESERVED, "free_mib": free}
        counts = {"need_mib": MODEL, "in_flight": 0, "refused": 0, "newest_fence": self.newest[0], "idle_seconds": 0.5}
        model = {"model_loaded": self.loaded, "state": self.state, "hold": hold}
        return web.json_response({"uuid": "GPU-1", "name": "Tesla T4", **memory, **counts, **model})

    def may_control(self, request: web.Request) -> bool:
        """True for a request with the token."""
        return self.flaw == "no token needed" or request.headers.get("Authorization") == f"Bearer {TOKEN}"

    async def order(self, request: web.Request) -> dict[str, Any] | None:
        """Return a valid body; empty without one, None for an invalid one."""
        if not await request.read():
            return {}
        try:
            body = await request.json()
        except (ValueError, RecursionError):
            return None
        if self.flaw == "no validation" and isinstance(body, dict) and isinstance(body.get("fence"), int):
            return {"holder": "?", "renew_key": "?", "ttl_seconds": 60.0, **body}
        return body if isinstance(body, dict) and valid(body, request.path) else None

    def is_stale(self, body: dict[str, Any]) -> bool:
        """True for an order of another turn."""
        if self.flaw == "old fences pass":
            return False
        fence, holder = self.newest
        return bool(body["fence"] < fence or (body["fence"] == fence and body["holder"] != holder))

    async def unload(self, request: web.Request) -> web.Response:
        """Answer `POST /api/v1/unload`."""
        if not self.may_control(request):
            return self.problem(401, "no token")
        body = await self.order(request)
        if not body:
            return self.problem(422, "invalid")
        if self.is_stale(body):
            return self.problem(409, "another turn")
        if self.flaw == "loses a fence at the same time":
            await asyncio.sleep(0.05 if body["fence"] % 2 else 0)
        self.newest = (body["fence"], body["holder"])
        until = time.monotonic() + body["ttl_seconds"]
        if self.flaw == "repetition keeps the ttl" and self.hold is not None and self.hold["fence"] == body["fence"]:
            until = self.hold["until"]
        self.hold, self.loaded = {**body, "until": until}, False
        freed = {"gpu_freed_mb": MODEL, "gpu_free_mb": TOTAL - RESERVED - self.used}
        return web.json_response({"success": True, **freed, "drained": 0, "aborted": 0})

    async def load(self, request: web.Request) -> web.Response:
        """Answer `POST /api/v1/load`."""
        if not self.may_control(request):
            return self.problem(401, "no token")
        body, hold = await self.order(request), self.present()
        if body is None:
            return self.problem(422, "invalid")
        claim = (body.get("holder"), body.get("fence"))
        other = hold is not None and claim != (hold["holder"], hold["fence"]) and self.flaw != "any holder loads"
        if other or (body and self.is_stale(body)):
            return self.problem(409, "another turn")
        self.loaded = True
        if self.flaw != "hold stays after load":
            self.hold = None
        return web.json_response({"success": True, "model_loaded": True})

    async def renew(self, request: web.Request) -> web.Response:
        """Answer `POST /api/v1/hold/renew`."""
        body, hold = await self.order(request), self.present()
        if not body:
            return self.problem(422, "invalid")
        if hold is None or hold["fence"] != body["fence"]:
            return self.problem(409, "no such hold")
        if hold["renew_key"] != body["renew_key"] and self.flaw != "any key renews":
            return self.problem(403, "wrong key")
        hold["until"] = time.monotonic() + hold["ttl_seconds"]
        return web.json_response({"hold": self.shown()})


def valid(body: dict[str, Any], path: str) -> bool:
    """True for a body that the contract permits."""
    fence, ttl = body.get("fence"), body.get("ttl_seconds", 60)
    if not isinstance(fence, int) or isinstance(fence, bool) or not 0 <= fence < 2**63:
        return False
    texts = [] if path.endswith("renew") else [body.get("holder")]
    texts += [] if path.endswith("load") and not path.endswith("unload") else [body.get("renew_key")]
    return all(isinstance(each, str) and each for each in texts) and isinstance(ttl, int | float) and ttl > 0


async def report(resident: Resident, token: str = TOKEN) -> list[runner.Result]:
    server = TestServer(resident.app())
    await server.start_server()
    try:
        return await runner.run(str(server.make_url("/")), token, load_timeout=20)
    finally:
        await server.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the checks wait for less than a real resident needs."""
    times = {"_WATCHED": 0.3, "_POLL": 0.05, "_SHORT_TTL": 0.3, "_EXPIRES_WITHIN": 1.0, "_PAUSE": 0.05}
    for name, value in times.items():
        monkeypatch.setattr(checks, name, value)


async def test_a_resident_that_keeps_the_contract_passes(capsys: pytest.CaptureFixture[str]) -> None:
    results = await report(Resident())
    assert [each.violation for each in results] == [""] * len(checks.CHECKS)
    assert capsys.readouterr().out.count("ok ") == len(checks.CHECKS)


@pytest.mark.parametrize("flaw", FLAWS)
async def test_each_way_to_break_it_is_found(flaw: str) -> None:
    failed = [each.check.promise for each in await report(Resident(flaw)) if each.violation]
    assert any(FLAWS[flaw] in promise for promise in failed), failed


async def test_a_resident_in_use_is_left_alone() -> None:
    holder = "yolotrainingjob/vision/digits/u"
    turn = {"holder": holder, "fence": 3, "renew_key": "k", "until": time.monotonic() + 60}
    busy = Resident(hold=turn, loaded=False, newest=(3, holder))
    with pytest.raises(ViolationError, match=f"{holder} holds the resident"):
        await report(busy)
    assert busy.hold == turn


async def test_what_does_not_answer_is_named() -> None:
    with pytest.raises(ViolationError, match="GET /api/v1/gpu has no answer after"):
        await runner.run("http://127.0.0.1:9", "", load_timeout=5)
