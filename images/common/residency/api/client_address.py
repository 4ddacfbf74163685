"""Which client a request comes from."""

import ipaddress

from starlette.types import Scope

IPV6_PREFIX = 64  # what one customer or machine has at least; single addresses of it can be changed at will


def client_of(scope: Scope) -> str:
    """Return the client of a request: its IPv4 address, or its IPv6 network.

    Behind a proxy that is named in FORWARDED_ALLOW_IPS it is the address that the proxy forwards.
    """
    client = scope.get("client")
    return client_network(client[0]) if client else "unknown"


def client_network(address: str) -> str:
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
