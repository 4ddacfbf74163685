"""How durations and amounts of memory are written."""

import pytest

from gpu_relay.api import words
from gpu_relay.domain.outage import objections
from gpu_relay.domain.quantities import duration, memory_mib


@pytest.mark.parametrize("bad", ["", "10", "10G", "0Gi", "-1Gi", "1.5Gi", "10gi"])
def test_memory_is_written_in_mi_or_gi(bad: str) -> None:
    with pytest.raises(ValueError, match="for example 10Gi"):
        memory_mib(bad)
    assert memory_mib("10Gi") == memory_mib("10240Mi") == 10_240


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("0s", 0), ("500ms", 0.5), ("1h2m3s4ms", 3723.004)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text).total_seconds() == seconds


@pytest.mark.parametrize("bad", ["", "90", "1d", "-5s", "1.5h", "m", " 5s"])
def test_an_invalid_duration_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="for example 90s"):
        duration(bad)
    assert objections({words.ANNOTATION_MIN_SERVE: bad}) == [f"{words.ANNOTATION_MIN_SERVE}: {_why(bad)}"]


def _why(bad: str) -> str:
    return f"{bad!r} is not a duration; write it in h, m, s or ms, for example 90s or 1h30m"
