"""What every test of this layer restores."""

import ctypes
from collections.abc import Iterator

import pytest

from residency.linux import PR_SET_CHILD_SUBREAPER


@pytest.fixture(autouse=True)
def no_adoption_of_orphans() -> Iterator[None]:
    """Restore what `ZygoteClient` sets for the whole process.

    With it, the zygote of a server that a later test kills becomes a child of this process, which never waits for it.
    """
    yield
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(0))
