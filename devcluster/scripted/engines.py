"""Scripted inference engines: each speaks a part of its namesake's public API, and books memory on a simulated GPU.

Sources: vLLM https://docs.vllm.ai/en/latest/features/sleep_mode/; SGLang's http_server.py (0.5.23); Ollama
https://github.com/ollama/ollama/blob/main/docs/api.md; llama-swap https://github.com/mostlygeek/llama-swap; Triton
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md; ComfyUI's
server.py.
"""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import WSMsgType, web

from gpu_memory import Booking, Ledger

MODEL = "m"
MODEL_MIB = 9_000
CONTEXT_MIB = 600
"""What an engine that stays alive keeps of the GPU."""
_START_SECONDS = 10.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ScriptedEngine(ABC):
    """An engine on a port of its own, in a thread of its own. `context_mib` is kept from the start to the end."""

    def __init__(self, ledger: Ledger, *, context_mib: int = 0, loaded: bool = True, port: int = 0) -> None:
        self.ledger = ledger
        self.calls: list[str] = []
        """Method and path of each request, in order."""
        self.refused = ""
        """A path that it does not know, as without the flag that adds it."""
        self.answers = asyncio.Event()
        """Set while inference is answered."""
        self._context = ledger.book(context_mib) if context_mib else None
        self._model: Booking | None = None
        if loaded:
            self.load()
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._port = port
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="scripted engine", daemon=True)
        self._thread.start()
        assert started.wait(_START_SECONDS)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def loaded(self) -> bool:
        """Whether its model is on the GPU."""
        return self._model is not None

    def load(self) -> None:
        """Take the memory of the model."""
        if self._model is None:
            self._model = self.ledger.book(MODEL_MIB)

    def unload(self) -> None:
        """Give it back."""
        if self._model is not None:
            self._model.close()
            self._model = None

    @abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """Return its own routes."""

    def close(self) -> None:
        """End it, and give all memory back."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join()
        self.unload()
        if self._context is not None:
            self._context.close()

    def pause(self) -> None:
        """Let inference wait from now on."""
        self._loop.call_soon_threadsafe(self.answers.clear)

    def resume(self) -> None:
        """Answer inference again."""
        self._loop.call_soon_threadsafe(self.answers.set)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(started))
        self._loop.close()

    async def _serve(self, started: threading.Event) -> None:
        app = web.Application(middlewares=[self._noted], client_max_size=1 << 30)
        app.add_routes([*self.routes(), *_inference(self)])
        self.answers.set()
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._port).start()
        self._port = runner.addresses[0][1]
        started.set()
        await self._ended.wait()
        await runner.cleanup()

    @web.middleware
    async def _noted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.calls.append(f"{request.method} {request.path_qs}")
        if request.path == self.refused:
            raise web.HTTPNotFound
        return await handler(request)

    async def compute(self) -> None:
        """Let inference take its time; raise 503 without a model."""
        await self.answers.wait()
        if not self.loaded:
            raise web.HTTPServiceUnavailable(text="the scripted engine has no model")


def _inference(engine: ScriptedEngine) -> list[web.RouteDef]:
    """Return the routes that need the model: an echo, a stream of events, a WebSocket."""

    async def echo(request: web.Request) -> web.StreamResponse:
        await engine.compute()
        await asyncio.sleep(float(request.query.get("ms", 0)) / 1000)
        body = await request.read()
        return web.Response(body=body, headers=_seen(request))

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 0\n\n")
        for number in (1, 2):
            await engine.compute()
            await response.write(f"data: {number}\n\n".encode())
        return response

    async def socket(request: web.Request) -> web.StreamResponse:
        chat = web.WebSocketResponse(protocols=("chat",))
        await chat.prepare(request)
        async for message in chat:
            if message.type is WSMsgType.TEXT:
                await chat.send_str(message.data.upper())
            elif message.type is WSMsgType.BINARY:
                await chat.send_bytes(message.data[::-1])
        return chat

    return [web.post("/v1/echo", echo), web.put("/v1/echo", echo), web.get("/v1/events", events),
            web.get("/v1/socket", socket)]  # fmt: skip


def _seen(request: web.Request) -> dict[str, str]:
    """Return what an echo says of its request."""
    client = request.headers.get("X-Forwarded-For", "")
    own = ",".join(sorted(name for name in request.headers if name.startswith("X-Own")))
    return {"X-Asked": request.method, "X-Host": request.host, "X-Client": client, "X-Passed": own}


def _does(act: Callable[[], None], answer: Any = None) -> Handler:
    """Return a handler that acts and answers."""

    async def handle(_: web.Request) -> web.StreamResponse:
        act()
        return web.json_response(answer if answer is not None else {"success": True})

    return handle


def _says(answer: Callable[[], Any]) -> Handler:
    """Return a handler that answers."""

    async def handle(_: web.Request) -> web.StreamResponse:
        return web.json_response(answer())

    return handle


async def _well(_: web.Request) -> web.StreamResponse:
    return web.Response()


class Vllm(ScriptedEngine):
    """Sleeps and wakes up; it loads at its start, and keeps a context."""

    def routes(self) -> list[web.RouteDef]:
        """Return its own routes."""
        return [
            web.get("/health", _well),
            web.post("/sleep", _does(self.unload)),
            web.post("/wake_up", _does(self.load)),
            web.get("/is_sleeping", _says(lambda: {"is_sleeping": not self.loaded})),
        ]


class Sglang(ScriptedEngine):
    """Releases and resumes memory; it must be idle for that."""

    paused = False

    def routes(self) -> list[web.RouteDef]:
        """Return its own routes."""
        return [
            web.get("/health", _well),
            web.post("/abort_request", _does(lambda: None)),
            web.post("/pause_generation", _does(lambda: setattr(self, "paused", True))),
            web.post("/continue_generation", _does(lambda: setattr(self, "paused", False))),
            web.post("/release_memory_occupation", self._release),
            web.post("/resume_memory_occupation", _does(self.load)),
        ]

    async def _release(self, _: web.Request) -> web.StreamResponse:
        if not self.paused:
            raise web.HTTPInternalServerError(text="release_memory_occupation should be called only when idle")
        self.unload()
        return web.json_response({})


class Ollama(ScriptedEngine):
    """Loads for any request, and unloads by `keep_alive: 0`."""

    def routes(self) -> list[web.RouteDef]:
        """Return its own routes."""
        return [
            web.get("/api/version", _says(lambda: {"version": "0.0"})),
            web.get("/api/ps", _says(lambda: {"models": [{"name": MODEL}] if self.loaded else []})),
            web.post("/api/generate", self._generate),
        ]

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        if asked["model"] != MODEL:
            raise web.HTTPNotFound(text='{"error": "model not found"}')
        if asked.get("keep_alive") == 0 and not asked.get("prompt"):
            self.unload()
            return web.json_response({"done": True, "done_reason": "unload"})
        self.load()
        return web.json_response({"done": True, "done_reason": "load"})


class LlamaSwap(ScriptedEngine):
    """Starts its engine for any request, and ends it when asked."""

    def routes(self) -> list[web.RouteDef]:
        """Return its own routes."""
        return [
            web.get("/health", _well),
            web.get("/running", _says(lambda: {"running": [{"model": MODEL}] if self.loaded else []})),
            web.post("/api/models/unload", _does(self.unload, {"msg": "ok"})),
            web.get(f"/upstream/{MODEL}/health", _does(self.load)),
        ]


class Triton(ScriptedEngine):
    """Loads and unloads models of its repository."""

    def routes(self) -> list[web.RouteDef]:
        """Return its own routes."""
        model = f"/v2/repository/models/{MODEL}"
        return [
            web.get("/v2/health/live", _well),
            web.get(f"/v2/models/{MODEL}/ready", _well),
            web.post(f"{model}/load", _does(self.load)),
            web.post(f"{model}/unload", _does(self.unload)),
            web.post("/v2/repository/index", self._index),
        ]

    async def _index(self, request: web.Request) -> web.StreamResponse:
        only_ready = (await request.json()).get("ready", False)
        state = "READY" if self.loaded else "UNAVAILABLE"
        known = [{"name": MODEL, "version": "1", "state": state}]
        return web.json_response(known if self.loaded or not only_ready else [])


class ComfyUi(ScriptedEngine):
    """Frees its models when asked, and loads those of the next prompt."""

    def routes(self) -> list[web.RouteDef]:
        """Return its own routes."""
        return [
            web.get("/system_stats", _says(lambda: {"system": {}})),
            web.get("/queue", _says(lambda: {"queue_running": [], "queue_pending": []})),
            web.post("/queue", _well),
            web.post("/interrupt", _well),
            web.post("/free", _does(self.unload)),
            web.post("/prompt", _does(self.load, {"prompt_id": "1"})),
        ]


ENGINES: dict[str, type[ScriptedEngine]] = {
    "vllm": Vllm, "sglang": Sglang, "ollama": Ollama, "llama-swap": LlamaSwap, "triton": Triton, "comfyui": ComfyUi,
}  # fmt: skip
