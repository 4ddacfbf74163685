"""The page's HTTP: static files, and four reads, each with the token of its request."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import Annotated

import aiohttp
from fastapi import Depends, FastAPI, Header, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpu_relay.api.words import LABEL_GPU, TRAINER_CONTAINER
from gpu_relay.clients.resources import EVENTS, JOBS, LEASES, WORKLOADS
from gpu_relay.domain.objects.event import job_event_of
from gpu_relay.domain.objects.job import Job, Object, UnreadableJobError, job_of
from gpu_relay.domain.objects.lease import GpuLease, lease_of
from gpu_relay.domain.objects.listed_workload import listed_workload_of
from gpu_relay.overview.log_source import LogSource, newest_log_source
from relay_page import jobs
from relay_page.feed import NOT_INSTALLED, Feed
from relay_page.settings import PageSettings
from relay_page.viewer_client import ForbiddenError, NotFoundError, ViewerClient, ViewerClientError, open_session
from relay_page.workloads import details, find_checks

STATIC = Path(__file__).parent / "static"
_NAME = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_POD = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_TRAINER_PORT = 8080
_LARGEST_IMAGE = 4 * 2**20
_JPEG = b"\xff\xd8\xff"
_MOST_EVENTS = 50
_LOG_LINES = 200
_LARGEST_LOG = 256 * 1024
_NOT_STARTED = 400
"""The API server's answer where a container has no log yet."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
Namespace = Annotated[str, Query(pattern=rf"{_NAME}|^$")]


def create_app(settings: PageSettings) -> FastAPI:
    """Return the application; it connects to the API server as requests come.

    Raises:
        ValueError: the API server's certificates cannot be read.

    """
    tls = settings.tls()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_session(tls) as session:
            app.state.session = session
            yield

    app = FastAPI(title="GPU Relay", openapi_url=None, lifespan=lifespan)
    app.state.settings, app.state.viewers = settings, 0
    app.add_middleware(_Headers)
    app.add_exception_handler(ViewerClientError, _refusal)
    app.add_api_route("/", _index, include_in_schema=False)
    app.add_api_route("/healthz", _healthz)
    app.add_api_route("/api/feed", _feed)
    app.add_api_route("/api/jobs/{namespace}/{name}", _job)
    app.add_api_route("/api/workloads/{namespace}/{name}", _workload)
    app.add_api_route("/api/jobs/{namespace}/{name}/log", _log)
    app.add_api_route("/api/jobs/{namespace}/{name}/predictions", _predictions)
    app.mount("/static", StaticFiles(directory=STATIC))
    return app


class _Headers:
    """Adds to every response the headers that keep a browser from doing more than the page needs."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await self._app(scope, receive, sending)


def _viewer_client(request: Request, authorization: Annotated[str, Header()] = "") -> ViewerClient:
    scheme, _, token = authorization.partition(" ")
    settings: PageSettings = request.app.state.settings
    session: aiohttp.ClientSession = request.app.state.session
    return ViewerClient(session, settings.api_server, token.strip() if scheme.lower() == "bearer" else "")


Viewer = Annotated[ViewerClient, Depends(_viewer_client)]


async def _refusal(_: Request, error: Exception) -> Response:
    """Answer with the message of a refusal."""
    assert isinstance(error, ViewerClientError)
    status = error.status if 400 <= error.status < 600 else 502
    return JSONResponse({"message": str(error)}, status)


async def _index() -> FileResponse:
    return FileResponse(STATIC / "index.html")


async def _healthz() -> Response:
    return Response("ok", media_type="text/plain")


async def _feed(request: Request, client: Viewer, namespace: Namespace = "") -> StreamingResponse:
    state = request.app.state
    settings: PageSettings = state.settings
    if state.viewers >= settings.viewers:
        raise ViewerClientError(503, f"{settings.viewers} pages are open, which is the limit GPU_RELAY_PAGE_VIEWERS.")
    state.viewers += 1
    try:
        feed = Feed(client, namespace, settings.namespace)
        await feed.open()
    except BaseException:
        state.viewers -= 1
        raise

    async def events() -> AsyncIterator[str]:
        try:
            async for each in feed.events():
                yield each
        finally:
            state.viewers -= 1

    return StreamingResponse(events(), media_type="text/event-stream")


async def _job(client: Viewer, namespace: str, name: str) -> Object:
    job = await _read_job(client, namespace, name)
    return {**jobs.details(job), **await _events(client, job.key.namespace, job.key.uid)}


async def _workload(request: Request, client: Viewer, namespace: str, name: str) -> Object:
    """Return the details of a Workload of Kueue."""
    settings: PageSettings = request.app.state.settings
    _check_names(namespace, name)
    try:
        raw = await client.get(WORKLOADS, namespace, name)
    except NotFoundError as error:
        raise ViewerClientError(404, f"There is no Workload {namespace}/{name}: it may have been deleted.") from error
    listed = listed_workload_of(raw, await find_checks(client))
    if listed is None:
        raise ViewerClientError(404, f"Workload {namespace}/{name} has no check of the operator.")
    leases = await _leases(client, settings.namespace)
    about = [listed.represents.uid] if listed.represents else []
    return {**details(listed, leases), **await _events(client, namespace, listed.key.uid, *about)}


async def _leases(client: ViewerClient, system: str) -> dict[str, GpuLease] | None:
    """Return the Leases by GPU; None where they may not be read."""
    try:
        found, _ = await client.list(LEASES, system, LABEL_GPU)
    except ForbiddenError:
        return None
    return {lease.gpu: lease for lease in map(lease_of, found)}


def _check_names(*names: str) -> None:
    """Refuse what is no name of an object, and so no part of a path."""
    for given in names:
        if not re.fullmatch(_NAME, given):
            raise ViewerClientError(400, f"{given!r} is not a valid name of a namespace or job.")


async def _read_job(client: ViewerClient, namespace: str, name: str) -> Job:
    _check_names(namespace, name)
    try:
        return job_of(await client.get(JOBS, namespace, name))
    except NotFoundError as error:
        message = f"There is no job {namespace}/{name}: it may have been deleted."
        raise ViewerClientError(404, message if error.kind_is_known else NOT_INSTALLED) from error
    except UnreadableJobError as error:
        raise ViewerClientError(502, f"The page cannot read this job: {error.fields}.") from error


async def _events(client: ViewerClient, namespace: str, *uids: str) -> Object:
    """Return the Events on objects, newest first; where the token may not read them, the sentence that says so."""
    try:
        lists = [await client.list_some(EVENTS, namespace, f"involvedObject.uid={uid}") for uid in uids]
    except ViewerClientError as error:
        return {"events": [], "eventsProblem": str(error)}
    newest_first = sorted(map(job_event_of, chain(*lists)), key=lambda each: each.at, reverse=True)
    return {"events": [jobs.event(each) for each in newest_first[:_MOST_EVENTS]], "eventsProblem": ""}


async def _log(client: Viewer, namespace: str, name: str) -> Object:
    """Return the last lines of the newest log of a job, and which pod wrote them."""
    source = newest_log_source(await _read_job(client, namespace, name))
    if source is None or not _POD.fullmatch(source.pod):
        raise ViewerClientError(404, "The job has had no pod yet, so it has no log.")
    lines = {"container": TRAINER_CONTAINER, "tailLines": str(_LOG_LINES), "limitBytes": str(_LARGEST_LOG)}
    try:
        raw = await client.log(namespace, source.pod, lines, most=_LARGEST_LOG)
    except ViewerClientError as error:
        raise _without_log(source, error) from error
    return {"source": str(source), "lines": _LOG_LINES, "text": raw.decode(errors="replace")}


def _without_log(source: LogSource, error: ViewerClientError) -> ViewerClientError:
    """Say why a pod has no log; other errors remain as they are."""
    if isinstance(error, NotFoundError):
        return ViewerClientError(404, f"There is no log: {source} no longer exists.")
    if error.status == _NOT_STARTED:
        return ViewerClientError(404, f"There is no log yet: {source} has not started.")
    return error


async def _predictions(client: Viewer, namespace: str, name: str) -> Response:
    """Return the latest image of the model's predictions, from the trainer, through the API server."""
    pod = (await _read_job(client, namespace, name)).status.pod or ""
    if not _POD.fullmatch(pod):
        raise ViewerClientError(404, "The job has no training pod yet.")
    image = await client.ask_pod(namespace, pod, _TRAINER_PORT, "predictions.jpg", most=_LARGEST_IMAGE)
    if not image.startswith(_JPEG):
        raise ViewerClientError(502, "The training pod sent something other than a JPEG image.")
    return Response(image, media_type="image/jpeg")
