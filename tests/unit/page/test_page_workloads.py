"""Workloads of Kueue on the page: among the jobs, as owners of GPUs, and nothing of them without Kueue."""

import json
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import trustme

from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.quantities import timestamp
from relay_page import workloads
from relay_page.feed import Feed
from relay_page.viewer_client import ViewerClient, open_session
from tests.unit.kubectl_relay.relay_api import Api
from tests.unit.kubectl_relay.relay_workloads import (
    OTHERS_ARE_AHEAD,
    finished,
    in_turn,
    leased,
    on_two_gpus,
    raw_workload,
    workload,
)
from tests.unit.kubectl_relay.relay_world import GPU, NOW, ago
from tests.unit.page.test_page_reads import ALL_JOBS, api, authority, forbid, page
from tests.unit.page.test_page_views import job, lease, summary

__all__ = ["api", "authority", "page"]
KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
CHECKS, WORKLOADS = f"{KUEUE}/admissionchecks", f"{KUEUE}/workloads"
ONE = f"{KUEUE}/namespaces/vision/workloads/job-my-training-1a2b3"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/gpu-relay/leases"
OURS = {"metadata": {"name": "gpu-relay"}, "spec": {"controllerName": "gpurelay.dev/turn"}}
NOTHING: dict[str, GpuLease] = {}


def listing(*items: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": "1"}, "items": list(items)}


async def first(
    api: Api, authority: trustme.CA, until: Callable[[dict[str, Any]], bool] = lambda _: True
) -> dict[str, Any]:
    """Return the last events of a feed, by name, after its first update or when they fulfil a condition."""
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    found: dict[str, Any] = {}
    async with open_session(tls) as session:
        feed = Feed(ViewerClient(session, api.url, "some.token"), "", "gpu-relay")
        await feed.open()
        events: AsyncIterator[str] = feed.events()
        while "problems" not in found or not until(found):
            name, data = (await anext(events)).removeprefix("event: ").split("\ndata: ")
            found[name] = json.loads(data)
        await events.aclose()  # type: ignore[attr-defined]  # it is a generator
    return found


@pytest.fixture
def kueue(api: Api) -> Api:
    """An API server with Kueue, one job and one Workload, which owns the GPU."""
    for path in (ALL_JOBS, "/api/v1/namespaces/gpu-relay/pods"):
        api.answer(path, listing())
    held = lease(in_turn().key.holder)
    held["metadata"] |= {"name": GPU, "uid": "lease"}
    api.answer(LEASES, listing(held))
    api.answer(KUEUE, {"resources": []})
    return api


async def test_the_feed_has_the_owner_and_those_that_wait(kueue: Api, authority: trustme.CA) -> None:
    api = kueue
    api.answer(CHECKS, listing(OURS))
    api.answer(
        WORKLOADS, listing(raw_workload("other", check="other"), raw_workload(state="Ready"), raw_workload("next"))
    )
    found = await first(api, authority)
    (gpu,) = found["gpus"]["put"]
    assert (gpu["owner"], gpu["job"]["title"], gpu["node"]) == ("job", "Job vision/my-training", "node-1")
    assert [(each["shown"], each["position"]) for each in found["jobs"]["put"]] == [("my-training", None), ("next", 1)]
    assert found["problems"]["put"][0]["hidden"] == ""


async def test_without_kueue_the_page_says_nothing_of_it(kueue: Api, authority: trustme.CA) -> None:
    del kueue.answers[KUEUE]
    forbid(kueue, CHECKS, "admissionchecks.kueue.x-k8s.io")
    assert (await first(kueue, authority))["problems"]["put"][0]["hidden"] == ""
    assert not [each for each in kueue.asked if "workloads" in each]


async def test_a_right_that_is_missing_is_one_sentence_of_the_page(kueue: Api, authority: trustme.CA) -> None:
    for path in (CHECKS, WORKLOADS):
        forbid(kueue, path, "this")
    hidden = (await first(kueue, authority))["problems"]["put"][0]["hidden"]
    assert hidden == "Your rights do not show: Workloads of Kueue (list workloads in all namespaces)."


async def test_a_kueue_that_is_uninstalled_leaves_no_error(kueue: Api, authority: trustme.CA) -> None:
    kueue.answer(CHECKS, listing(OURS))
    kueue.answer(WORKLOADS, listing(raw_workload()))
    kueue.refuse(WORKLOADS, 404, "the server could not find the requested resource")
    found = await first(kueue, authority, until=lambda seen: bool(seen["jobs"]["gone"]))
    assert found["problems"]["put"][0]["trouble"] == ""


def test_positions_are_those_among_jobs_and_workloads() -> None:
    waits = summary(job(phase="Queued", queuePosition=1)) | {"created": timestamp(ago(minutes=30)), "uid": "u"}
    listed = [workload("late", priority=-1), workload(), in_turn("owner")]

    def places(**part: bool) -> list[Any]:
        return [each["position"] for each in workloads.rows(listed, [waits], leased(listed[2]), **part)]

    assert places(everywhere=True) == [3, 2, None]
    assert places(everywhere=False) == [None, None, None]


def test_a_row_changes_its_version_with_its_phase_and_position() -> None:
    waits = workload()
    versions = {
        workloads.row(waits, leases, place)["version"] for leases in (NOTHING, leased(waits)) for place in (1, 2)
    }
    assert len(versions) == 4


def test_a_finished_turn_is_drawn_on_its_gpu() -> None:
    row = workloads.row(finished(minutes=2), NOTHING)
    (turn,) = row["attempts"]
    assert (turn["reason"], turn["gpu"], turn["end"]) == ("Completed", GPU, timestamp(ago(minutes=2)))
    assert (row["phase"], row["ended"], row["turn"]) == ("Succeeded", turn["end"], None)
    (failed,) = workloads.row(finished(reason="Failed"), NOTHING)["attempts"]
    assert failed["reason"] == "Failed"


def test_a_row_names_each_gpu_of_its_turns() -> None:
    assert workloads.row(on_two_gpus(), None)["gpus"] == [GPU, "gpu-2"]


async def test_details_have_the_message_and_the_events_of_both(kueue: Api, page: httpx.AsyncClient) -> None:
    kueue.answer(CHECKS, listing(OURS))
    kueue.answer(ONE, raw_workload())
    said = {"metadata": {"name": "e", "namespace": "vision"}, "involvedObject": {"uid": "u"}, "reason": "GPULeased",
            "message": "m", "eventTime": NOW.isoformat()}  # fmt: skip
    kueue.answer("/api/v1/namespaces/vision/events", listing(said))
    read = (await page.get("/api/workloads/vision/job-my-training-1a2b3")).json()
    assert (read["why"], read["facts"]["GPU memory"]) == (OTHERS_ARE_AHEAD, "10,240 MiB")
    asked = [each for each in kueue.asked if "/events?" in each]
    assert ["uid-my-training" in asked[0], "job-my-training" in asked[1]] == [True, True]


async def test_a_workload_that_is_gone_or_another_is_a_sentence(kueue: Api, page: httpx.AsyncClient) -> None:
    kueue.answer(CHECKS, listing(OURS))
    kueue.answer(ONE, raw_workload(check="other"))
    other = await page.get("/api/workloads/vision/job-my-training-1a2b3")
    assert (other.status_code, other.json()["message"]) == (
        404, "Workload vision/job-my-training-1a2b3 has no check of the operator.",
    )  # fmt: skip
    kueue.refuse(f"{KUEUE}/namespaces/vision/workloads/gone", 404, "not found", name="gone")
    gone = await page.get("/api/workloads/vision/gone")
    assert gone.json()["message"] == "There is no Workload vision/gone: it may have been deleted."
