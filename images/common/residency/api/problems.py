"""Errors as `application/problem+json` (RFC 9457), for FastAPI."""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from residency import errors
from residency.api import schemas
from residency.api.problem import MEDIA_TYPE, STATUSES, Problem, problem_of
from residency.field_errors import validation_error

log = logging.getLogger(__name__)


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **members: Any) -> JSONResponse:
    """Return the problem's response; `members` are its extension members."""
    return _response(Problem(status, detail, headers or {}, members))


def _response(found: Problem) -> JSONResponse:
    return JSONResponse(found.content, found.status, found.headers, MEDIA_TYPE)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of a route's problems."""
    return {status: {"model": schemas.Problem, "content": {MEDIA_TYPE: {}}} for status in statuses}


def install(app: FastAPI, own: Mapping[type[Exception], int]) -> None:
    """Convert every error that leaves a route of `app` to a problem; `own` are the statuses of the server's errors."""
    app.state.statuses = {**STATUSES, **own}
    for kind in app.state.statuses:
        app.add_exception_handler(kind, _known)
    app.add_exception_handler(errors.BodyError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _disconnected)
    app.add_exception_handler(Exception, _unexpected)


def problem_for(app: FastAPI, error: Exception) -> Problem:
    """Return the problem of an error that `install` has given a status, or of an invalid body."""
    if isinstance(error, errors.BodyError):
        found = [{"in": each.where, "message": each.message} for each in error.field_errors]
        return Problem(error.status, str(error), members={"errors": found} if found else {})
    return problem_of(error, app.state.statuses, app.state.coordinator.retry_after)


async def _known(request: Request, error: Exception) -> JSONResponse:
    return _response(problem_for(request.app, error))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return _response(problem_for(request.app, validation_error(error.errors())))


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
