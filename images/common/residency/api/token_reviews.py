"""Tokens that Kubernetes validates (TokenReview), with limits on how many reviews a client causes."""

import asyncio
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import kubernetes
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from residency.api.auth import ControlUnavailableError, ForbiddenError, UnauthorizedError
from residency.fair_queue import FairQueue

log = logging.getLogger(__name__)

REVIEW_SECONDS = 5.0
CACHE_SECONDS, CACHE_REFUSAL_SECONDS = 30.0, 1.0
CACHE_AT_MOST = 256
AT_A_TIME, AT_A_TIME_PER_CLIENT = 4, 2
WAITING_PER_CLIENT = 8
PER_SECOND_PER_CLIENT = 10
LONGEST_TOKEN = 8192


class TokenReviews:
    """Sends TokenReviews to Kubernetes, in its own threads.

    The result is cached by the token's hash: 30 s for a valid token, 1 s for a refused one. The reviews of each client
    are limited, at a time and in a second, so that invalid tokens of one client do not delay others.
    """

    def __init__(
        self,
        api: "kubernetes.client.AuthenticationV1Api",
        audience: str,
        service_accounts: Collection[str],
        setting: str,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`service_accounts` are written `namespace:name`, and `setting` names what lists them."""
        self._api = api
        self._audience = audience
        self._users = frozenset(f"system:serviceaccount:{account}" for account in service_accounts)
        self._setting = setting
        self._now = now
        self._cache: dict[bytes, tuple[float, Exception | None]] = {}
        self._turns = FairQueue(AT_A_TIME, AT_A_TIME_PER_CLIENT)
        self._rate_limit = _RateLimit()
        self._threads = ThreadPoolExecutor(AT_A_TIME, "token review")

    async def check(self, token: str | None, client: str) -> None:
        """Pass for a token of a listed service account, made for this audience."""
        if token is None:
            raise UnauthorizedError(f"this call needs a bearer token for the audience {self._audience}")
        if len(token) > LONGEST_TOKEN:
            raise UnauthorizedError(f"the token has more than {LONGEST_TOKEN} characters")
        key = hashlib.sha256(token.encode()).digest()
        if self._cached(key):
            return
        self._require_rate(client)
        async with self._turns.turn(client):
            if self._cached(key):  # another call has reviewed it meanwhile
                return
            try:
                await self._review(token)
            except (UnauthorizedError, ForbiddenError) as error:
                self._store(key, CACHE_REFUSAL_SECONDS, error)
                raise
            self._store(key, CACHE_SECONDS, None)

    def _cached(self, key: bytes) -> bool:
        """Whether the token is cached as valid; raises the error of a cached refusal."""
        until, refusal = self._cache.get(key, (0.0, None))
        if until <= self._now():
            return False
        if refusal is not None:
            raise type(refusal)(str(refusal))
        return True

    def _store(self, key: bytes, seconds: float, refusal: Exception | None) -> None:
        """Cache a result; when full, the oldest refusal is removed, else the oldest result."""
        if len(self._cache) >= CACHE_AT_MOST:
            oldest = next((each for each, known in self._cache.items() if known[1]), next(iter(self._cache)))
            del self._cache[oldest]
        self._cache.pop(key, None)
        self._cache[key] = (self._now() + seconds, refusal)

    def _require_rate(self, client: str) -> None:
        if self._turns.waiting(client) >= WAITING_PER_CLIENT or not self._rate_limit.take(client, self._now()):
            raise ControlUnavailableError("this client has sent too many tokens to check; try again in a second")

    async def _review(self, token: str) -> None:
        try:
            status = await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, token)
        except (ApiException, HTTPError, OSError, ValueError) as error:
            log.warning("TokenReview failed: %s", error)
            message = "the token could not be checked with Kubernetes; see the server's log"
            raise ControlUnavailableError(message) from error
        if not status.get("authenticated"):
            raise UnauthorizedError(
                f"Kubernetes does not know this token: {status.get('error') or 'not authenticated'}"
            )
        if self._audience not in status.get("audiences", ()):
            raise UnauthorizedError(f"the token was not issued for the audience {self._audience}")
        user = status.get("user", {}).get("username")
        if user not in self._users:
            raise ForbiddenError(f"{user} may not unload and load; add it to {self._setting}")

    def _ask(self, token: str) -> dict[str, Any]:
        spec = kubernetes.client.V1TokenReviewSpec(token=token, audiences=[self._audience])
        response = self._api.create_token_review(
            kubernetes.client.V1TokenReview(spec=spec), _request_timeout=REVIEW_SECONDS, _preload_content=False
        )
        status: dict[str, Any] = json.loads(response.data).get("status", {})
        return status


class _RateLimit:
    """Counts the reviews of each client in the current second."""

    def __init__(self) -> None:
        self._second = 0
        self._clients: dict[str, int] = {}

    def take(self, client: str, now: float) -> bool:
        """Count one review; return False at the client's limit."""
        if int(now) != self._second:
            self._second, self._clients = int(now), {}
        spent = self._clients.get(client, 0)
        if spent >= PER_SECOND_PER_CLIENT:
            return False
        self._clients[client] = spent + 1
        return True


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
