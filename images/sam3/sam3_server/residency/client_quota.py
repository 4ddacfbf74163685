"""Who asks, and how many requests each client has here."""

import contextlib
import ipaddress
from collections import Counter
from collections.abc import Iterator

from starlette.types import Scope

from sam3_server.errors import BusyError, TooManyError

IPV6_PREFIX = 64  # what one customer or machine has at least; single addresses of it can be changed at will


def address_of(scope: Scope) -> str:
    """Return the client that a request comes from: its address, of IPv6 the network.

    Behind a proxy that is named in FORWARDED_ALLOW_IPS the address is the one that the proxy says.
    """
    client = scope.get("client")
    return network(client[0]) if client else "unknown"


def network(address: str) -> str:
    """Return the IPv4 address, or the IPv6 network, that counts as one client."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed)


class Places:
    """Counts inference requests from before their body is read until they are answered, of each client and of all."""

    def __init__(self, most: int, per_client: int) -> None:
        self._most = most
        self._per_client = per_client
        self._clients: Counter[str] = Counter()
        self.count = 0

    def require(self, client: str) -> None:
        """Pass if one more request of the client may be taken.

        Raises:
            BusyError: there are as many as the server takes.
            TooManyError: there are as many as it takes from one client.

        """
        if self.count >= self._most:
            raise BusyError(f"{self.count} requests are in flight, as many as this server takes")
        if self._clients[client] >= self._per_client:
            raise TooManyError(
                f"{self._clients[client]} requests of this client are in flight, as many as each client may have"
            )

    @contextlib.contextmanager
    def one(self, client: str) -> Iterator[None]:
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
