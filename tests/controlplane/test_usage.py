"""The record of usage in Leases and ConfigMaps, with the operator as a process."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from gpu_relay.domain.objects.usage import Account, Day, Usage, accounts_of, usage_of

Start = Callable[..., OperatorProcess]
GPU = "gpu-00000000-0000-0000-0000-000000000001"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/gpu-relay/leases/{GPU}"
ARCHIVE = f"/api/v1/namespaces/gpu-relay/configmaps/gpu-relay-usage-{GPU}"
PATCH = {"Content-Type": "application/merge-patch+json"}


def record(api: httpx.Client) -> Usage:
    """Return the record of the GPU's Lease."""
    usage = usage_of(api.get(LEASE).json()["metadata"]["annotations"]["gpurelay.dev/usage"])
    assert usage is not None
    return usage


def archive(api: httpx.Client) -> dict[str, dict[str, Account]]:
    """Return what is archived of the GPU, by key; empty before."""
    data: dict[str, Any] = api.get(ARCHIVE).json().get("data", {})
    return {key: accounts_of(json.loads(value)) for key, value in data.items()}


def of_all_days(owner: str, days: Mapping[str, Day]) -> Account:
    """Return an account, also if midnight has just passed."""
    return sum((day.get(owner, Account()) for day in days.values()), Account())


def test_a_turn_is_counted_in_the_lease_and_archived(
    world: World, api: httpx.Client, resident: ScriptedResident, start_operator: Start
) -> None:
    operator = start_operator()
    world.apply_job("digits")
    world.shows_pod("digits-1")
    world.run_pod("digits-1")
    resident.refused = 3
    world.end_pod("digits-1", times=("2026-01-01T12:00:00Z", "2026-01-01T12:01:40Z"))
    world.reaches("digits", "Succeeded")
    eventually(world.no_reload_pending, "the resident to be back")
    usage = record(api)
    owner = f"yolotrainingjob/{world.namespace}/digits"
    account = of_all_days(owner, usage.days)
    assert account.turns == 1
    assert account.refused == 3
    assert account.trained == 100
    assert account.owned > 0
    assert abs(account.mib_seconds - account.owned * 10_240) < 10.24, "rounded to a millisecond"
    lease = api.get(LEASE).json()
    operator.stop()
    start_operator()  # its first pass archives
    uid = lease["metadata"]["uid"][:8]
    archived = eventually(lambda: {key: day for key, day in archive(api).items() if key.endswith(uid)}, "the archive")
    assert of_all_days(owner, archived) == account


def test_days_that_have_ended_move_to_the_archive_and_old_ones_are_removed(
    world: World, api: httpx.Client, resident: ScriptedResident, start_operator: Start
) -> None:
    operator = start_operator()
    world.apply_job("digits")
    world.shows_pod("digits-1")
    operator.stop()
    uid = api.get(LEASE).json()["metadata"]["uid"]
    now = record(api)
    past = now.added("2026-01-02", "yolotrainingjob/vision/digits", Account(owned=60.0, turns=1))
    body = {"metadata": {"annotations": {"gpurelay.dev/usage": past.written()}}}
    api.patch(LEASE, json=body, headers=PATCH).raise_for_status()
    days = (datetime.now(UTC).date() - datetime(2026, 1, 2).date()).days
    old = {f"2026-01-01.{uid[:8]}": "{}"}
    labels = {"app.kubernetes.io/managed-by": "gpu-relay", "gpurelay.dev/usage": "days"}
    api.delete(ARCHIVE)
    made = {"metadata": {"name": ARCHIVE.rpartition("/")[2], "labels": labels}, "data": old}
    api.post(ARCHIVE.rpartition("/")[0], json=made).raise_for_status()
    start_operator(usage_days=str(days))
    eventually(lambda: "2026-01-02" not in record(api).days, "the Lease to have only today")
    found = archive(api)
    assert found[f"2026-01-02.{uid[:8]}"] == {"yolotrainingjob/vision/digits": Account(owned=60.0, turns=1)}
    assert f"2026-01-01.{uid[:8]}" not in found
    assert record(api).need_mib == 10_240, "the turn continues"
    world.run_pod("digits-1")
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")
    api.delete(ARCHIVE)
