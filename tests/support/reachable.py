"""Addresses that the API server's pod proxy connects to: it refuses those of the loopback network."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from devcluster.packages import find_tool

_NETWORK = "198.51.100"
"""TEST-NET-2 (RFC 5737), which no network uses."""


@contextmanager
def local_address() -> Iterator[str]:
    """Give the loopback device another address, and take it back; no other machine has a route to it.

    Skips the test where this process may not.
    """
    tool = find_tool("ip")
    if os.geteuid() or tool is None:
        pytest.skip("only root, with iproute2, can give this machine an address that the API server's proxy accepts")
    address = next(each for each in _candidates() if _change(tool, "add", each))
    try:
        yield address
    finally:
        _change(tool, "del", address)


def _candidates() -> Iterator[str]:
    """Yield addresses in turn: another test process may have the first ones."""
    return (f"{_NETWORK}.{number}" for number in range(1, 255))


def _change(tool: str, verb: str, address: str) -> bool:
    command = [tool, "address", verb, f"{address}/32", "dev", "lo"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
