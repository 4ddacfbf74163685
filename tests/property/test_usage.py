"""The record of usage: whatever happens to a Lease, each second has one owner."""

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gpu_relay.domain.objects.usage import (
    MOST_DAYS,
    MOST_OWNERS,
    RESIDENT,
    Account,
    Usage,
    account_of,
    day_of,
    usage_of,
)
from tests.support.builders import lease

BEGIN = datetime(2026, 1, 1, 22, 30, tzinfo=UTC)
OWNERS = st.sampled_from([RESIDENT, "yolotrainingjob/vision/digits", "yolotrainingjob/vision/other", "workload/team/x"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(BEGIN.isoformat())
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
RECORDS = st.dictionaries(st.sampled_from(["to", "mib", "days"]), VALUES).map(json.dumps)
STEPS = st.lists(st.tuples(OWNERS, st.integers(-5, 10_000), st.booleans(), st.integers(0, 40_000)), max_size=30)


def total(usage: Usage) -> float:
    """Return the seconds of all owners."""
    return sum(each.owned + each.reloading for day in usage.days.values() for each in day.values())


@given(STEPS)
def test_each_second_has_one_owner(steps: list[tuple[str, int, bool, int]]) -> None:
    """Also over midnights, and with a clock that is set back."""
    usage, now = Usage(BEGIN), BEGIN
    for owner, seconds, reloading, need in steps:
        now += timedelta(seconds=seconds)
        usage = usage.continued(owner, now, reloading=reloading)
        usage = Usage(usage.counted_to, need, usage.days)
        assert abs(total(usage) - (usage.counted_to - BEGIN).total_seconds()) < 0.001
        assert usage_of(usage.written()) == Usage(usage.counted_to, need, usage.days)
        assert all(sum(each.owned + each.reloading for each in day.values()) <= 86_400 for day in usage.days.values())


def test_a_record_has_the_newest_days_only() -> None:
    """Also if the days cannot be archived: the Lease of a GPU must stay small enough to be written."""
    usage = Usage(BEGIN)
    for _ in range(20):
        usage = usage.continued(RESIDENT, usage.counted_to + timedelta(days=1))
    assert sorted(usage.days) == [f"2026-01-{day}" for day in range(22 - MOST_DAYS, 22)]
    longest = {
        f"yolotrainingjob/{'n' * 63}/{name:0253}": Account(1e6, 1e6, 1e6, 1e12, 10**6, 10**6)
        for name in range(MOST_OWNERS + 1)
    }
    assert len(Usage(BEGIN, 1, dict.fromkeys(usage.days, longest)).written()) < 200_000


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 300)), min_size=150, max_size=400))
def test_many_owners_share_accounts_and_none_of_their_time_is_lost(owners: list[tuple[int, int]]) -> None:
    usage = Usage(BEGIN)
    for number, (namespace, name) in enumerate(owners, 1):
        usage = usage.added("2026-01-01", f"yolotrainingjob/team-{namespace}/job-{name}", Account(owned=1.0, turns=1))
        assert total(usage) == number
    assert len(usage.days["2026-01-01"]) <= MOST_OWNERS + 1
    assert sum(each.turns for each in usage.days["2026-01-01"].values()) == len(owners)


@given(st.text() | RECORDS)
def test_any_annotation_can_be_read(annotation: str) -> None:
    """A record that cannot be read is none: a new one begins."""
    usage = usage_of(annotation)
    assert usage is None or total(usage) >= 0


def test_a_record_that_is_damaged_in_part_keeps_the_rest() -> None:
    good = '{"to":"2026-01-01T12:00:00+00:00","mib":1,"days":{"2026-01-01":{"a/b/c":[1,2,3,4,5,6],"bad":[1],"b":"x"}}}'
    usage = usage_of(good)
    assert usage is not None
    assert usage.days == {"2026-01-01": {"a/b/c": Account(1, 2, 3, 4, 5, 6)}}
    assert usage_of(good.replace("[1,2,3,4,5,6]", "[1,2,3,4,5,-6]")) == Usage(usage.counted_to, 1, {"2026-01-01": {}})


def test_the_time_of_a_lease_is_that_of_its_holder_or_of_its_pending_reload() -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    before = Usage(now - timedelta(hours=1), 1024)
    turn = lease(None, holder="yolotrainingjob/vision/digits/uid", usage_record=before.written()).usage_at(now)
    assert turn.days[day_of(now)] == {"yolotrainingjob/vision/digits": Account(owned=3600, mib_seconds=3600 * 1024)}
    reload = lease(None, reload_pending="workload/vision/job-x/uid", usage_record=before.written()).usage_at(now)
    assert reload.days[day_of(now)] == {"workload/vision/job-x": Account(reloading=3600)}
    idle = lease(None, usage_record=Usage(now - timedelta(hours=1)).written()).usage_at(now)
    assert idle.days[day_of(now)] == {RESIDENT: Account(owned=3600)}
    assert lease(None).usage_at(now) == Usage(now), "a Lease of an earlier version begins a record"
    assert account_of("somebody") == RESIDENT
    unmanaged = lease(None, gpu="gpu-unmanaged", usage_record=before.written()).usage_at(now)
    assert (unmanaged.days, unmanaged.counted_to) == ({}, now), "there is no resident"
