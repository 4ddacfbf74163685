"""A problem (RFC 9457) as data: one table from a resident's errors to HTTP's, for any HTTP library."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from gpu_memory import GpuUnavailable
from residency import errors
from residency.api.auth import ControlUnavailableError, ForbiddenError, UnauthorizedError
from residency.errors import AdmissionClosedError
from residency.field_errors import MAX_DETAIL, truncate
from residency.hold import FenceError, RenewKeyError

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


@dataclass(frozen=True)
class Problem:
    """A problem; `members` are its extension members."""

    status: int
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> dict[str, Any]:
        """The body."""
        title, detail = HTTPStatus(self.status).phrase, truncate(self.detail, MAX_DETAIL)
        return {"type": "about:blank", "title": title, "status": self.status, "detail": detail, **self.members}


def problem_of(
    error: Exception, statuses: Mapping[type[Exception], int], retry_after: Callable[[Exception], int]
) -> Problem:
    """Return the problem of an error that has a status; `retry_after` estimates the seconds."""
    status = next(statuses[kind] for kind in type(error).__mro__ if kind in statuses)
    headers: dict[str, str] = {}
    members: dict[str, Any] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        headers["Retry-After"] = str(retry_after(error))
    if status == 503:
        hold = error.hold if isinstance(error, AdmissionClosedError) else None
        if hold is not None:
            members["eta"] = hold.terms.eta.isoformat().replace("+00:00", "Z") if hold.terms.eta else None
    return Problem(status, str(error), headers, members)
