"""When jobs may have the GPU of a resident with training windows, also when daylight saving time begins and ends."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_relay.api.words import ANNOTATION_TRAINING_WINDOWS as ANNOTATION
from gpu_relay.api.words import Reason
from gpu_relay.domain.job.stop_reasons import cause
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.candidate import Candidate
from gpu_relay.domain.queue.placement import explain_placement
from gpu_relay.domain.training_windows import training_windows
from gpu_relay.domain.turn_view import TurnView
from tests.support.builders import NOW, candidate, job, lease, pod, report, resident

BERLIN = ZoneInfo("Europe/Berlin")
NIGHTS = "Mon-Fri 19:00-07:00 Europe/Berlin; Sat-Sun"


def at(text: str) -> datetime:
    """Return a time in Berlin, in UTC."""
    return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=BERLIN).astimezone(UTC)


def berlin(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(BERLIN).strftime("%a %Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("now", "closes", "opens"),
    [
        ("2026-12-01 12:00", "", "Tue 2026-12-01 19:00"),
        ("2026-12-01 19:00", "Wed 2026-12-02 07:00", "Wed 2026-12-02 19:00"),
        ("2026-12-02 06:59", "Wed 2026-12-02 07:00", "Wed 2026-12-02 19:00"),
        ("2026-12-02 07:00", "", "Wed 2026-12-02 19:00"),
        ("2026-12-04 20:00", "Mon 2026-12-07 00:00", "Sat 2026-12-05 00:00"),
        ("2026-12-06 23:59", "Mon 2026-12-07 00:00", "Mon 2026-12-07 19:00"),
    ],
)
def test_nights_and_weekends(now: str, closes: str, opens: str) -> None:
    windows = training_windows(NIGHTS)
    assert berlin(windows.closes(at(now))) == closes
    assert berlin(windows.opens(at(now))) == opens


def test_the_night_in_which_clocks_go_forward_has_eleven_hours() -> None:
    windows = training_windows("19:00-07:00 Europe/Berlin")
    start = at("2027-03-27 19:00")
    assert windows.closes(start) == start + timedelta(hours=11)


def test_the_night_in_which_clocks_go_back_has_thirteen_hours() -> None:
    windows = training_windows("19:00-07:00 Europe/Berlin")
    start = at("2026-10-24 19:00")
    assert windows.closes(start) == start + timedelta(hours=13)


def test_an_hour_that_occurs_twice_is_open_both_times() -> None:
    windows = training_windows("02:00-03:00 Europe/Berlin")
    first = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)
    assert windows.closes(first) == first + timedelta(hours=2)
    half = training_windows("01:00-02:30 Europe/Berlin")
    assert half.closes(first) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "at the second half past two"


def test_an_hour_that_is_skipped_does_not_open() -> None:
    windows = training_windows("Sun 02:00-03:00 Europe/Berlin")
    night = at("2027-03-28 01:59")
    opens = windows.opens(night)
    assert berlin(opens) == "Sun 2027-04-04 02:00"


@pytest.mark.parametrize(
    ("text", "moment", "is_open"),
    [
        ("Sat,Sun", "2026-12-05 12:00", True),
        ("Fri-Mon", "2026-12-07 12:00", True),
        ("Fri-Mon", "2026-12-08 12:00", False),
        ("08:00-24:00 Europe/Berlin", "2026-12-08 23:59", True),
        ("00:00-24:00", "2026-12-08 23:59", True),
        ("Tue 08:00-09:00", "2026-12-08 09:30", True),
    ],
)
def test_other_ways_to_write_them(text: str, moment: str, is_open: bool) -> None:
    assert (training_windows(text).closes(at(moment)) is not None) == is_open


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has neither days nor times"),
        ("Europe/Berlin", "has neither days nor times"),
        ("Mon-Fri;", "'' has neither days nor times"),
        ("Mon-Fri 19-7", "'19-7' is no time of a day"),
        ("Mon-Fri 19:00-25:00", "no time of a day"),
        ("Mon-Fri 19:00-24:30", "no time of a day"),
        ("Montag 19:00-07:00", "'Montag' is neither days, such as Mon-Fri, nor a known time zone"),
        ("Mon ../../etc/passwd", "nor a known time zone"),
        ("Mon Europe/Berlin; Tue Asia/Tokyo", "the time zones Asia/Tokyo and Europe/Berlin: write one"),
        ("Mon Tue", "has days twice"),
        ("Mon 1:00-2:00", "no time of a day"),
        ("Mon " * 200, "may have at most 512"),
    ],
)
def test_what_cannot_be_read_is_explained(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace("../..", r"\.\./\.\.")):
        training_windows(text)


CLOSED = {ANNOTATION: "Fri"}
"""The builders' time is a Thursday."""


def gpu(annotations: dict[str, str], **fields: Any) -> Candidate:
    found = candidate(report(loaded=True), **fields)
    assert found.resident is not None
    return replace(found, resident=replace(found.resident, annotations=annotations))


def test_jobs_wait_for_the_window_and_others_may_start() -> None:
    polite = job("polite", gpu={"memory": "1Gi", "startWhen": "ResidentIdle", "idleFor": "0s"})
    bold = job("bold", gpu={"memory": "1Gi"})
    placements = explain_placement([bold, polite], [gpu(CLOSED)], NOW, Policy(preparations=0))
    assert [each.reason for each in placements] == [Reason.OUTSIDE_TRAINING_WINDOW, Reason.GPU_LEASED]
    assert "the next one begins Fri 2026-01-02 00:00 UTC" in placements[0].message
    both = explain_placement([bold], [gpu(CLOSED), gpu({}, gpu="gpu-2")], NOW, Policy(preparations=0))
    assert both[0].reason == Reason.GPU_LEASED, "another GPU has no windows"


@pytest.mark.parametrize(
    ("annotations", "fields", "stops"),
    [
        (CLOSED, {"yieldToResident": True}, True),
        (CLOSED, {}, False),
        (CLOSED, {"yieldToResident": True, "startWhen": "ResidentIdle"}, False),
        ({}, {"yieldToResident": True}, False),
        ({ANNOTATION: "Thu"}, {"yieldToResident": True}, False),
        ({ANNOTATION: "7pm"}, {"yieldToResident": True}, False),
    ],
)
def test_at_the_end_of_a_window_only_jobs_that_yield_stop(
    annotations: dict[str, str], fields: dict[str, Any], stops: bool
) -> None:
    subject = job(gpu={"memory": "1Gi", **fields})
    lent = replace(resident(report()), annotations=annotations)
    stop = cause(TurnView(NOW, Policy(), lease(subject), lent, subject), subject, pod())
    assert (stop is not None and stop.reason == Reason.YIELDING_TO_RESIDENT) == stops


@given(st.text(max_size=60))
def test_no_text_fails_in_another_way(text: str) -> None:
    try:
        windows = training_windows(text)
    except ValueError:
        return
    now = datetime(2026, 12, 1, tzinfo=UTC)
    closes = windows.closes(now)
    assert closes is None or closes > now


@given(st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1)))
def test_a_window_opens_when_it_says(moment: datetime) -> None:
    windows, now = training_windows(NIGHTS), moment.replace(tzinfo=UTC)
    opens = windows.opens(now)
    assert opens is not None
    assert windows.closes(opens) is not None
    if windows.closes(now) is None:
        assert windows.closes(opens - timedelta(minutes=1)) is None, "and not before"
