"""`kubectl relay usage`: what is added up, and what is said of what may not be read."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gpu_relay.domain.objects.usage import RESIDENT, Account, Usage, accounts_written
from gpu_relay.overview.usage import Group, Records, merged, usage_report
from kubectl_relay.effects.cluster import ForbiddenError
from kubectl_relay.exits import Exit
from tests.support.builders import lease
from tests.unit.kubectl_relay.relay_api import Api, api_in_use, invoke

NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)
GPU, OTHER = "gpu-1", "gpu-2"
DIGITS, WORKLOAD = "yolotrainingjob/vision/digits", "workload/team/job-x"
RECORDS: Records = {
    GPU: {
        "2026-01-02.aaaaaaaa": {DIGITS: Account(owned=99_999)},
        "2026-01-03.aaaaaaaa": {DIGITS: Account(7200, 600, 7000, 7200 * 10_240, 1, 3), RESIDENT: Account(owned=78_600)},
        "2026-01-10.aaaaaaaa": {DIGITS: Account(1800, 0, 0, 1800 * 10_240, 1, 0)},
    },
    OTHER: {"2026-01-10.bbbbbbbb": {WORKLOAD: Account(3600, 0, 3500, 3600 * 1024, 2, 0)}},
}
LEASES, MAPS = ("/apis/coordination.k8s.io/v1/namespaces/gpu-relay/leases", "/api/v1/namespaces/gpu-relay/configmaps")
REFUSED = "is forbidden: cannot list"


def report(by: Group = Group.NAMESPACE, **changes: Any) -> dict[str, Any]:
    given = {"since": timedelta(days=7), "price": None, **changes}
    return {line.name: line for line in usage_report(RECORDS, NOW, by=by, **given).lines}


def test_the_accounts_of_a_namespace_are_added_up_over_days_and_gpus() -> None:
    lines = report()
    assert list(lines) == ["vision", "team", RESIDENT], "the residents are last"
    vision = lines["vision"]
    assert (vision.turn_seconds, vision.reload_seconds, vision.trained_seconds) == (9000, 600, 7000)
    assert (vision.mib_hours, vision.turns, vision.refused, vision.cost) == (2.5 * 10_240, 2, 3, None)
    assert report(since=timedelta(days=8))["vision"].turn_seconds == 9000 + 99_999


def test_the_same_time_is_seen_by_job_by_gpu_and_by_day() -> None:
    assert list(report(Group.JOB)) == ["vision/digits", "Workload team/job-x", RESIDENT]
    assert list(report(Group.GPU)) == [GPU, OTHER]
    assert list(report(Group.DAY)) == ["2026-01-03", "2026-01-10"]
    reports = [usage_report(RECORDS, NOW, since=timedelta(days=7), by=by) for by in Group]
    assert {each.counted_seconds for each in reports} == {9000 + 600 + 3600 + 78_600}
    assert {sum(line.gpu_seconds for line in each.lines) for each in reports} == {9000 + 600 + 3600 + 78_600}


def test_one_namespace_has_its_share_of_all() -> None:
    team = usage_report(RECORDS, NOW, since=timedelta(days=7), by=Group.GPU, namespace="team")
    assert [(line.name, line.turns) for line in team.lines] == [(OTHER, 2)]
    assert team.counted_seconds == 9000 + 600 + 3600 + 78_600


def test_a_price_is_that_of_turns_and_of_reloads() -> None:
    lines = report(price=0.5)
    assert lines["vision"].cost == round((9000 + 600) / 3600 * 0.5, 4)
    assert lines[RESIDENT].cost is None


def test_a_lease_replaces_what_was_archived_of_it_and_counts_up_to_now() -> None:
    owner = "yolotrainingjob/vision/digits/uid"
    usage = Usage(NOW - timedelta(hours=1), 0, {"2026-01-10": {DIGITS: Account(1800, turns=1)}})
    records = merged(RECORDS, {GPU: lease(None, holder=owner, uid="aaaaaaaa-1", usage_record=usage.written())}, NOW)
    assert records[GPU]["2026-01-10.aaaaaaaa"] == {DIGITS: Account(5400, turns=1)}
    assert records[GPU]["2026-01-03.aaaaaaaa"] == RECORDS[GPU]["2026-01-03.aaaaaaaa"]
    assert merged({}, {GPU: lease(None)}, NOW) == {}, "a Lease of an earlier version has no record"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """An API server that knows no usage yet."""
    with api_in_use(tmp_path, monkeypatch) as api:
        yield api


def archived() -> dict[str, Any]:
    today = datetime.now(UTC).date().isoformat()
    data = {f"{today}.aaaaaaaa": json.dumps(accounts_written(RECORDS[GPU]["2026-01-03.aaaaaaaa"])), "damaged": "{"}
    return {"metadata": {"name": f"gpu-relay-usage-{GPU}"}, "data": data}


def test_a_table_and_csv_have_the_same_figures(api: Api) -> None:
    api.answer(MAPS, {"metadata": {}, "items": [archived()]})
    api.answer(LEASES, {"metadata": {}, "items": []})
    table = invoke("usage", "--price", "0.5").output
    assert [line.split() for line in table.splitlines()[:3]] == [
        ["NAMESPACE", "GPU", "TIME", "SHARE", "TRAINED", "GIB", "HOURS", "TURNS", "REFUSED", "COST"],
        ["vision", "2h", "10m", "9%", "1h", "56m", "20.0", "1", "3", "1.08"],
        ["resident", "21h", "50m", "91%"],
    ]
    assert invoke("usage", "-o", "csv", "--by", "job", "--since", "30d").output.splitlines() == [
        "job,turn_seconds,reload_seconds,trained_seconds,mib_hours,turns,refused,cost",
        "vision/digits,7200.0,600.0,7000.0,20480.0,1,3,",
        "resident,78600.0,0.0,0.0,0.0,0,0,",
    ]
    first = json.loads(invoke("usage", "-o", "json").output)["lines"][0]
    assert (first["name"], first["turnSeconds"], first["mibHours"]) == ("vision", 7200, 20480.0)


def test_without_the_leases_the_last_minutes_are_missing(api: Api) -> None:
    api.answer(MAPS, {"metadata": {}, "items": [archived()]})
    api.refuse(LEASES, 403, REFUSED)
    shown = invoke("usage").output
    assert "vision" in shown
    assert "The last minutes are not counted: you may not list leases" in " ".join(shown.split())


def test_without_the_archive_only_what_the_leases_have_is_shown(api: Api) -> None:
    api.refuse(MAPS, 403, REFUSED)
    api.answer(LEASES, {"metadata": {}, "items": []})
    shown = " ".join(invoke("usage").output.split())
    assert "No GPU has had a turn" in shown
    assert "Days that have been archived are not counted: you may not list configmaps" in shown


def test_without_either_the_missing_right_is_named(api: Api) -> None:
    api.refuse(MAPS, 403, REFUSED)
    api.refuse(LEASES, 403, REFUSED)
    error = invoke("usage").exception
    assert isinstance(error, ForbiddenError)
    assert error.code == Exit.FORBIDDEN
    assert "you may not list configmaps in namespace gpu-relay" in str(error)


def test_a_wrong_length_of_time_is_refused(api: Api) -> None:
    assert "is not a duration" in str(invoke("usage", "--since", "week").exception)
