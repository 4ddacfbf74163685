"""Errors as `application/problem+json` (RFC 9457): one table from the server's errors to HTTP's."""

import logging
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from gpu_memory import GpuUnavailable
from sam3_server import errors
from sam3_server.auth import ControlUnavailableError, ForbiddenError, UnauthorizedError
from sam3_server.hold import FenceError, Hold, RenewKeyError
from sam3_server.schemas import Problem

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
LONGEST_RETRY_SECONDS = 300
RETRY_SECONDS = 2
STATUSES: Mapping[type[Exception], int] = {
    FenceError: 409,
    RenewKeyError: 403,
    UnauthorizedError: 401,
    ForbiddenError: 403,
    ControlUnavailableError: 503,
    GpuUnavailable: 503,
    errors.ImageTooLargeError: 413,
    errors.ImageError: 422,
    errors.PromptError: 422,
    errors.InferenceError: 500,
    errors.ServiceError: 503,
}


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **members: Any) -> JSONResponse:
    """Return the problem's response; `members` are its extension members."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **members}
    return JSONResponse(content, status, headers, MEDIA_TYPE)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what a route's documentation says of its problems."""
    return {status: {"model": Problem, "content": {MEDIA_TYPE: {}}} for status in statuses}


def retry_after(hold: Hold | None, now: float, wall: datetime) -> int:
    """Return the seconds after which to ask again: at the holder's eta where it gave one, else when the hold ends."""
    if hold is None:
        return RETRY_SECONDS
    wait = (hold.terms.eta - wall).total_seconds() if hold.terms.eta else hold.expires_in(now)
    return max(1, min(math.ceil(wait), LONGEST_RETRY_SECONDS))


def install(app: FastAPI) -> None:
    """Let every error that leaves a route of `app` become a problem."""
    for kind in STATUSES:
        app.add_exception_handler(kind, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _disconnected)
    app.add_exception_handler(Exception, _unexpected)


async def _known(request: Request, error: Exception) -> JSONResponse:
    status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    headers: dict[str, str] = {}
    members: dict[str, Any] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 503:
        hold = error.hold if isinstance(error, errors.GateClosedError) else None
        headers["Retry-After"] = str(retry_after(hold, request.app.state.service.now(), datetime.now(UTC)))
        if hold is not None:
            members["eta"] = hold.terms.eta.isoformat().replace("+00:00", "Z") if hold.terms.eta else None
    return problem(status, str(error), headers, **members)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = [{"in": ".".join(map(str, each["loc"])), "message": each["msg"]} for each in error.errors()]
    detail = "; ".join(f"{each['in']}: {each['message']}" for each in found)
    return problem(422, detail, errors=found)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, str(error.detail), error.headers)


class _Silence(Response):
    """No answer: nobody is there to hear one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send nothing."""


async def _disconnected(request: Request, error: Exception) -> Response:
    return _Silence()


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error", exc_info=error, extra={"route": request.url.path})
    return problem(500, "an unexpected error; the server's log has it")
