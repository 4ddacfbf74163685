"""Who may order the model unloaded or loaded: bearers of a token that Kubernetes vouches for, or that a file holds."""

import asyncio
import hashlib
import hmac
import json
import logging
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Protocol

import kubernetes
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

log = logging.getLogger(__name__)

REVIEW_SECONDS = 5.0
REMEMBER_SECONDS = 30.0
REMEMBER_AT_MOST = 256


class UnauthorizedError(Exception):
    """No token, or one that nobody vouches for."""


class ForbiddenError(Exception):
    """A genuine token of somebody who may not give control orders."""


class ControlUnavailableError(Exception):
    """Tokens cannot be checked at present."""


class Control(Protocol):
    """Decides on control calls."""

    async def check(self, token: str | None) -> None:
        """Pass for a caller who may give control orders.

        Raises:
            UnauthorizedError: the token is missing or not genuine.
            ForbiddenError: it is genuine and its owner is not on the list.
            ControlUnavailableError: it could not be checked.

        """
        ...


class OpenControl:
    """Lets everybody in: for a machine of one's own."""

    async def check(self, token: str | None) -> None:
        """Pass."""


class TokenFile:
    """Compares with the token in a file, which is read at each call so that it may be rotated."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def check(self, token: str | None) -> None:
        """Pass for the file's token."""
        if token is None:
            raise UnauthorizedError("this call needs the header `Authorization: Bearer <token>`")
        try:
            expected = (await asyncio.to_thread(self._path.read_text)).strip()
        except OSError as error:
            raise ControlUnavailableError(f"the token file cannot be read: {error.strerror}") from error
        if not expected:
            raise ControlUnavailableError("the token file is empty")
        if not hmac.compare_digest(expected.encode(), token.encode()):
            raise UnauthorizedError("the token is not the one in this server's token file")


class TokenReviews:
    """Asks Kubernetes (TokenReview) whose token it is. An accepted token is remembered, by its hash, for 30 s."""

    def __init__(
        self,
        api: "kubernetes.client.AuthenticationV1Api",
        audience: str,
        service_accounts: Collection[str],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`service_accounts` are written `namespace:name`."""
        self._api = api
        self._audience = audience
        self._users = frozenset(f"system:serviceaccount:{account}" for account in service_accounts)
        self._now = now
        self._accepted: dict[bytes, float] = {}

    async def check(self, token: str | None) -> None:
        """Pass for a token of a listed service account, made for this audience."""
        if token is None:
            raise UnauthorizedError(f"this call needs a bearer token for the audience {self._audience}")
        key = hashlib.sha256(token.encode()).digest()
        if self._accepted.get(key, 0.0) > self._now():
            return
        await self._review(token)
        if len(self._accepted) >= REMEMBER_AT_MOST:
            self._accepted.clear()
        self._accepted[key] = self._now() + REMEMBER_SECONDS

    async def _review(self, token: str) -> None:
        try:
            status = await asyncio.to_thread(self._ask, token)
        except (ApiException, HTTPError, OSError, ValueError) as error:
            log.warning("TokenReview failed: %s", error)
            message = "Kubernetes could not be asked whose token this is; the server's log says why"
            raise ControlUnavailableError(message) from error
        if not status.get("authenticated"):
            raise UnauthorizedError(
                f"Kubernetes does not know this token: {status.get('error') or 'not authenticated'}"
            )
        if self._audience not in status.get("audiences", ()):
            raise UnauthorizedError(f"the token was not made for the audience {self._audience}")
        user = status.get("user", {}).get("username")
        if user not in self._users:
            raise ForbiddenError(f"{user} may not give control orders (SAM3_CONTROL_SERVICE_ACCOUNTS)")

    def _ask(self, token: str) -> dict[str, Any]:
        spec = kubernetes.client.V1TokenReviewSpec(token=token, audiences=[self._audience])
        response = self._api.create_token_review(
            kubernetes.client.V1TokenReview(spec=spec), _request_timeout=REVIEW_SECONDS, _preload_content=False
        )
        status: dict[str, Any] = json.loads(response.data).get("status", {})
        return status


def authentication_api() -> "kubernetes.client.AuthenticationV1Api":
    """Return the API of the cluster this process runs in, or of `KUBECONFIG`.

    Raises:
        kubernetes.config.ConfigException: there is neither.

    """
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        kubernetes.config.load_incluster_config()
    else:
        kubernetes.config.load_kube_config()
    return kubernetes.client.AuthenticationV1Api()
