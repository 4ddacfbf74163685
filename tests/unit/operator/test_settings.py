"""The operator's settings."""

import pytest

from gpu_relay.settings import Settings


@pytest.mark.parametrize(
    ("setting", "trusted"), [("", ["gpu-relay"]), ("a, b", ["a", "b"]), ("*", ["a", "b", "gpu-relay"])]
)
def test_which_namespaces_may_have_residents(setting: str, trusted: list[str]) -> None:
    settings = Settings(resident_namespaces=setting)
    assert [name for name in ("a", "b", "gpu-relay") if settings.trusts_residents_of(name)] == trusted
