"""The error of a request to the Kubernetes API."""

from typing import Any

Object = dict[str, Any]


class KubeError(Exception):
    """The API server answered with an error, or not at all (`status` 0)."""

    def __init__(self, status: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(f"{message} ({status} {reason})" if status else message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details = details or {}
        """The `details` of the API server's Status."""

    @property
    def not_found(self) -> bool:
        """The object does not exist."""
        return self.status == 404

    @property
    def conflict(self) -> bool:
        """Another client has changed the object since it was read."""
        return self.status == 409 and self.reason != "AlreadyExists"

    @property
    def already_exists(self) -> bool:
        """An object of that name exists."""
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def refusal(self) -> bool:
        """The request itself is at fault: repeating it would not help. 401 is not among them: it may be temporary."""
        return 400 <= self.status < 500 and self.status not in {401, 404, 408, 409, 429}

    @property
    def invalid(self) -> bool:
        """The object breaks the rules of its kind."""
        return self.status in {400, 422}

    @property
    def answered(self) -> bool:
        """False if the request may still take effect, now or later: no answer, or the API server's own timeout."""
        return self.status not in {0, 504}

    @property
    def unavailable(self) -> bool:
        """The API server does not answer, or rejects all requests now: another request would fail as well."""
        return self.status in {0, 429, 503}


def unreachable(request: str, error: Exception) -> KubeError:
    """Return the error of a request that got no response."""
    return KubeError(0, "Unreachable", f"{request}: {type(error).__name__}: {error}")


def api_error(status: int, payload: Object, request: str) -> KubeError:
    """Return the error that the API server's Status describes."""
    details = payload.get("details")
    return KubeError(
        status,
        str(payload.get("reason", "")),
        str(payload.get("message", request)),
        details if isinstance(details, dict) else {},
    )
