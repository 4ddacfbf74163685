"""How many inference requests may be in flight, in total and from one client."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from residency.errors import BusyError, TooManyRequestsError


class RequestQuota:
    """Counts inference requests from before their body is read until they are answered."""

    def __init__(self, limit: int, limit_per_client: int) -> None:
        self._limit = limit
        self._limit_per_client = limit_per_client
        self._clients: Counter[str] = Counter()
        self.count = 0

    def require(self, client: str) -> None:
        """Pass if one more request of the client may be admitted.

        Raises:
            BusyError: the server's limit is reached.
            TooManyRequestsError: the client's limit is reached.

        """
        if self.count >= self._limit:
            raise BusyError(f"{self.count} requests are in flight, as many as this server takes")
        if self._clients[client] >= self._limit_per_client:
            raise TooManyRequestsError(
                f"{self._clients[client]} requests of this client are in flight, as many as each client may have"
            )

    @contextlib.contextmanager
    def occupy(self, client: str) -> Iterator[None]:
        """Count one request of a client for the length of a `with` block."""
        self.count += 1
        self._clients[client] += 1
        try:
            yield
        finally:
            self.count -= 1
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]
