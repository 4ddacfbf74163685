"""The error of a request to the Kubernetes API."""

import json
import re
from typing import Any

Object = dict[str, Any]
_USER = re.compile(r'User "([^"]{1,253})"')
"""The account in the API server's message about a missing right."""


class KubeError(Exception):
    """The API server answered with an error, or not at all (`status` 0)."""

    def __init__(
        self, status: int, reason: str, message: str, details: Object | None = None, *, is_status: bool = True
    ) -> None:
        """`is_status` is False for an answer that is no Status: of a pod behind the API server, or a proxy before."""
        super().__init__(f"{message} ({status} {reason})" if status else message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details = details or {}
        """The `details` of the API server's Status."""
        self.is_status = is_status

    @property
    def not_found(self) -> bool:
        """The object does not exist."""
        return self.status == 404

    @property
    def kind_not_found(self) -> bool:
        """The API server does not know the kind of the object: it names no object that is missing."""
        return self.not_found and not self.details.get("name")

    @property
    def right_is_missing(self) -> bool:
        """The account lacks a right; a 403 of an admission policy or of a pod is worded otherwise."""
        return self.status == 403 and self.is_status and "cannot" in self.message

    @property
    def user(self) -> str:
        """The account that the API server's message names, empty if it names none."""
        found = _USER.search(self.message)
        return found[1] if found else ""

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
        """The request itself is at fault: repeating it would not help.

        401 is not among them, since it may be temporary, nor is 410: only the version of a list is at fault.
        """
        return 400 <= self.status < 500 and self.status not in {401, 404, 408, 409, 410, 429}

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


class TooLargeError(KubeError):
    """A body, or an object of a watch, has more bytes than are read into memory."""

    def __init__(self, most: int) -> None:
        super().__init__(0, "TooLarge", f"the response has more than {most:,} bytes")
        self.most = most


def unreachable(request: str, error: Exception) -> KubeError:
    """Return the error of a request that got no response, or none that can be read."""
    return KubeError(0, "Unreachable", f"{request}: {type(error).__name__}: {error}")


def api_error(status: int, raw: bytes, request: str) -> KubeError:
    """Return the error that the body of a response describes: the API server's Status, or a text."""
    try:
        payload = json.loads(raw)
    except ValueError:
        payload = None
    if isinstance(payload, dict) and payload.get("kind") == "Status":
        return status_error(status, payload, request)
    text = raw.decode(errors="replace").strip()
    return KubeError(status, "", text or _without_message(status, request), is_status=False)


def status_error(status: int, payload: Object, request: str) -> KubeError:
    """Return the error that a Status describes."""
    details = payload.get("details")
    return KubeError(
        status,
        str(payload.get("reason") or ""),
        str(payload.get("message") or _without_message(status, request)),
        details if isinstance(details, dict) else {},
    )


def _without_message(status: int, request: str) -> str:
    return f"The API server answered {status} to {request}."
