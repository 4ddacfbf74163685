"""The one part of the kubelet's own API that people use daily: container logs, for `kubectl logs`.

HTTPS on loopback; only the API server, whose certificate is of the cluster's authority, may ask.
"""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from devcluster import pki
from devcluster.process_node.pods import PodWorker
from devcluster.process_node.settings import HOST_IP
from devcluster.process_node.status import Running

_CHUNK = 1 << 16
_POLL_SECONDS = 0.2
_UNSUPPORTED = ("timestamps", "sinceTime", "sinceSeconds")
Workers = Callable[[], Mapping[str, PodWorker]]


@asynccontextmanager
async def serve(workers: Workers, authority: bytes) -> AsyncIterator[int]:
    """Serve logs on a free port, which is yielded."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await _logs(request, workers())

    app = web.Application()
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.5, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST_IP, 0, ssl_context=_tls(authority))
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _tls(authority: bytes) -> ssl.SSLContext:
    own = pki.Authority().issue("process-node", hosts=(HOST_IP,))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=authority.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    with tempfile.TemporaryDirectory() as folder:
        own.write(Path(folder), "node")
        context.load_cert_chain(Path(folder) / "node.crt", Path(folder) / "node.key")
    return context


async def _logs(request: web.Request, workers: Mapping[str, PodWorker]) -> web.StreamResponse:
    wanted, query = request.match_info, request.query
    if refused := [name for name in _UNSUPPORTED if query.get(name) not in (None, "", "false")]:
        raise web.HTTPBadRequest(text=f"the process node keeps no times in its logs: leave out {', '.join(refused)}")
    worker = _find(workers, wanted["namespace"], wanted["pod"])
    states = [*worker.state.inits, *worker.state.mains] if worker else []
    state = next((state for state in states if state.name == wanted["container"]), None)
    if worker is None or state is None:
        raise web.HTTPNotFound(text=f"no container {wanted['container']} of pod {wanted['pod']} on this node")
    previous = query.get("previous") == "true"
    log = worker.place.log(worker.pod, state.name, state.restarts - previous)
    if not log.exists():
        raise web.HTTPBadRequest(text=f"container {state.name} has no {'earlier ' if previous else ''}log yet")
    answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await answer.prepare(request)
    with log.open("rb") as file:
        file.seek(tail_offset(log, query.get("tailLines")))
        left = int(query.get("limitBytes", 1 << 62))
        follow = query.get("follow") == "true" and not previous
        restart = state.restarts
        while left > 0:
            # looked at before reading: what is written until the end must still be read
            running = isinstance(state.now, Running) and state.restarts == restart
            if chunk := file.read(min(_CHUNK, left)):
                left -= len(chunk)
                await answer.write(chunk)
            elif not (follow and running):
                break
            else:
                await asyncio.sleep(_POLL_SECONDS)
    return answer


def tail_offset(log: Path, lines: str | None) -> int:
    """Return where the last `lines` lines of a file begin; without a number, its beginning."""
    if lines is None or int(lines) < 0:
        return 0
    content = log.read_bytes()
    kept = content.splitlines(keepends=True)[-int(lines) :] if int(lines) else []
    return len(content) - sum(map(len, kept))


def _find(workers: Mapping[str, PodWorker], namespace: str, pod: str) -> PodWorker | None:
    for worker in workers.values():
        metadata = worker.pod["metadata"]
        if (metadata["namespace"], metadata["name"]) == (namespace, pod):
            return worker
    return None
