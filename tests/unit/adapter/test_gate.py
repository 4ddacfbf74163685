"""Which requests need the GPU, which pass at any time, and which are refused."""

import pytest

from relay_adapter.gate import Gate, Kind
from relay_adapter.profile import names, read_profile

GATE = Gate(["GET /health", "GET /v1/models*", "HEAD /"], ["* /sleep", "* /v2/models/*/load"])


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("POST", "/v1/completions", Kind.INFERENCE),
        ("GET", "/health", Kind.PASSIVE),
        ("GET", "/health/", Kind.PASSIVE),
        ("POST", "/health", Kind.INFERENCE),
        ("GET", "/v1/models/m", Kind.PASSIVE),
        ("HEAD", "/", Kind.PASSIVE),
        ("POST", "/sleep", Kind.CLOSED),
        ("GET", "/sleep", Kind.CLOSED),
        ("POST", "/sleep/", Kind.CLOSED),
        ("POST", "//sleep", Kind.CLOSED),
        ("POST", "/%73leep", Kind.CLOSED),
        ("POST", "/v2/models/m/load", Kind.CLOSED),
        ("POST", "/v2/models/a%2Fb/load", Kind.CLOSED),
        ("POST", "/health/../sleep", Kind.INVALID),
        ("POST", "/health/%2e%2e/sleep", Kind.INVALID),
        ("POST", "/./sleep", Kind.INVALID),
        ("POST", "/%2573leep", Kind.INVALID),
        ("POST", "/health\\..\\sleep", Kind.INVALID),
        ("POST", "/sleep%00", Kind.INVALID),
        ("POST", "http://elsewhere/sleep", Kind.INVALID),
        ("OPTIONS", "*", Kind.INVALID),
        ("POST", "/a..b", Kind.INFERENCE),
    ],
)
def test_a_request_is_one_kind(method: str, path: str, kind: Kind) -> None:
    assert GATE.kind(method, path) is kind


@pytest.mark.parametrize("name", names())
def test_no_client_makes_the_calls_of_a_profile_that_change_the_gpu(name: str) -> None:
    """Ollama's are those of its clients: they are refused while the GPU is lent out, as any inference is."""
    profile = read_profile(name, "m")
    gate = Gate(profile.passive, profile.closed)
    for call in profile.unload if name != "ollama" else ():
        path = call.path.partition("?")[0]
        assert gate.kind(call.method, path) is Kind.CLOSED, path
    for call in (*profile.unload, *profile.load):
        assert gate.kind(call.method, call.path.partition("?")[0]) is not Kind.PASSIVE
