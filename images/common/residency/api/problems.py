"""Errors as `application/problem+json` (RFC 9457): one table from a server's errors to HTTP's."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from gpu_memory import GpuUnavailable
from residency import errors
from residency.api.auth import ControlUnavailableError, ForbiddenError, UnauthorizedError
from residency.api.schemas import Problem
from residency.errors import AdmissionClosedError
from residency.field_errors import MAX_DETAIL, truncate, validation_error
from residency.hold import FenceError, RenewKeyError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
STATUSES: Mapping[type[Exception], int] = {
    FenceError: 409,
    RenewKeyError: 403,
    UnauthorizedError: 401,
    ForbiddenError: 403,
    ControlUnavailableError: 503,
    GpuUnavailable: 503,
    errors.TooManyRequestsError: 429,
    errors.ServiceError: 503,
}


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **members: Any) -> JSONResponse:
    """Return the problem's response; `members` are its extension members."""
    title, detail = HTTPStatus(status).phrase, truncate(detail, MAX_DETAIL)
    content = {"type": "about:blank", "title": title, "status": status, "detail": detail, **members}
    return JSONResponse(content, status, headers, MEDIA_TYPE)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of a route's problems."""
    return {status: {"model": Problem, "content": {MEDIA_TYPE: {}}} for status in statuses}


def install(app: FastAPI, own: Mapping[type[Exception], int]) -> None:
    """Convert every error that leaves a route of `app` to a problem; `own` are the statuses of the server's errors."""
    app.state.statuses = {**STATUSES, **own}
    for kind in app.state.statuses:
        app.add_exception_handler(kind, _known)
    app.add_exception_handler(errors.BodyError, _body)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _disconnected)
    app.add_exception_handler(Exception, _unexpected)


async def _known(request: Request, error: Exception) -> JSONResponse:
    statuses: Mapping[type[Exception], int] = request.app.state.statuses
    status = next(statuses[kind] for kind in type(error).__mro__ if kind in statuses)
    headers: dict[str, str] = {}
    members: dict[str, Any] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        headers["Retry-After"] = str(request.app.state.coordinator.retry_after(error))
    if status == 503:
        hold = error.hold if isinstance(error, AdmissionClosedError) else None
        if hold is not None:
            members["eta"] = hold.terms.eta.isoformat().replace("+00:00", "Z") if hold.terms.eta else None
    return problem(status, str(error), headers, **members)


async def _body(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.BodyError)
    found = [{"in": each.where, "message": each.message} for each in error.field_errors]
    return problem(error.status, str(error), errors=found) if found else problem(error.status, str(error))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return await _body(request, validation_error(error.errors()))


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, str(error.detail), error.headers)


class _NoResponse(Response):
    """No answer, for a client that has disconnected."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send nothing."""


async def _disconnected(request: Request, error: Exception) -> Response:
    return _NoResponse()


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error", exc_info=error, extra={"route": request.url.path})
    return problem(500, "an unexpected error; see the server's log")
