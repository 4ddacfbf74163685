"""The page before the real API server: it shows what a token may read, and no more."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from devcluster import Cluster, audit
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support.page import PageProcess, condition, feed, put_job, viewer_token
from yolo_trainer.training.progress import ProgressTracker
from yolo_trainer.training.progress_server import ProgressServer, Sources

QUEUED = condition("Reconciling", "WaitingInQueue", "1 job is before this one")
LEASES = "/apis/coordination.k8s.io/v1/namespaces/gpu-relay/leases"
GPU = "gpu-5f0c"


@pytest.fixture(scope="module")
def page(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageProcess]:
    page = PageProcess(cluster, tmp_path_factory.mktemp("page") / "page.log", viewers="3")
    yield page
    page.stop()


@pytest.fixture
def viewer(page: PageProcess, world: World) -> Iterator[httpx.Client]:
    """Somebody with the role `view` in the test's namespace."""
    with page.viewer(viewer_token(world.api, world.namespace, "viewer", {"view": world.namespace})) as client:
        yield client


def test_a_viewer_sees_the_jobs_of_the_own_namespace_alone(viewer: httpx.Client, world: World) -> None:
    world.apply_job("mine", suspend=True)
    with feed(viewer, world.namespace) as events:
        received = dict(next(events) for _ in range(2))
    assert [job["name"] for job in received["jobs"]["put"]] == ["mine"]
    for elsewhere in ("", "gpu-relay", "default"):
        refused = viewer.get("/api/feed", params={"namespace": elsewhere})
        assert refused.status_code == 403
        sentence = refused.json()["message"]
        where = f"in namespace {elsewhere}" if elsewhere else "in all namespaces"
        assert sentence == (
            f"Your account (system:serviceaccount:{world.namespace}:viewer) may not list yolotrainingjobs {where}. "
            "Name a namespace in which it may: the role `view` there is enough."
        )
    assert viewer.get("/api/jobs/default/mine").status_code == 403


def test_what_else_may_not_be_read_is_reported_and_the_rest_is_shown(viewer: httpx.Client, world: World) -> None:
    with feed(viewer, world.namespace) as events:
        (problems,) = _until(events, "problems")["put"]
    assert problems["hidden"] == (
        "Your rights do not show: the Leases, which record the owners of GPUs (list leases in namespace gpu-relay); "
        "the pods of the residents (list pods in namespace gpu-relay)."
    )
    assert problems["trouble"] == ""


def test_what_sam3_reports_is_shown_to_those_who_may_ask_its_pod(
    page: PageProcess, world: World, api: httpx.Client, reachable: ScriptedResident
) -> None:
    """A resident in the operator's namespace, asked through the real API server's pod proxy."""
    system = World(api, "gpu-relay")
    proxying = viewer_token(api, world.namespace, "proxying", {"view": world.namespace, "edit": "gpu-relay"})
    seeing = viewer_token(api, world.namespace, "seeing", {"view": "gpu-relay", "edit": world.namespace})
    try:
        system.add_resident(reachable)
        with page.viewer(proxying) as client, feed(client, world.namespace) as events:
            gpu = _measured(events)
            assert (gpu["used"], gpu["total"], gpu["residentState"]["state"]) == (14_000, 15_360, "loaded")
        reachable.loaded, reachable.trainer_mib, reachable.refused = False, 10_240, 3
        with page.viewer(proxying) as client, feed(client, world.namespace) as events:
            gpu = _measured(events)
            state = gpu["residentState"]
            assert (gpu["used"], state["state"], state["refused"]) == (10_240, "unloaded", 3)
        with page.viewer(seeing) as client, feed(client, world.namespace) as events:
            hidden = next(each for each in _hidden(events) if "report" in each)
            assert "what the residents report of their GPUs (get pods/proxy in namespace gpu-relay)" in hidden
    finally:
        system.empty_pods()


def test_a_change_arrives_as_the_difference_that_it_is(viewer: httpx.Client, world: World) -> None:
    for name in ("one", "two"):
        put_job(world.api, world.namespace, name, phase="Queued", conditions=[QUEUED], queuePosition=1)
    with feed(viewer, world.namespace) as events:
        _until(events, "problems")
        put_job(world.api, world.namespace, "two", phase="Queued", conditions=[QUEUED], queuePosition=7)
        changed = _until(events, "jobs")
        assert [(job["name"], job["position"]) for job in changed["put"]] == [("two", 7)]
        uid = world.job("one")["metadata"]["uid"]
        world.delete_job("one")
        assert _until(events, "jobs") == {"put": [], "gone": [uid]}


def test_the_whole_cluster_with_its_gpus(page: PageProcess, world: World) -> None:
    rules = [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list", "watch"]}]
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    world.api.post(roles, json={"metadata": {"name": "page-leases"}, "rules": rules})
    wide = viewer_token(world.api, world.namespace, "wide", {"view": "*", "page-leases": "gpu-relay"})
    with page.viewer(wide) as client, feed(client) as events:
        assert _until(events, "problems")["put"] == [{"trouble": "", "hidden": ""}]
        holder = f"yolotrainingjob/{world.namespace}/digits/uid"
        _write_lease(world.api, holder)
        (gpu,) = _until(events, "gpus")["put"]
    assert (gpu["key"], gpu["owner"], gpu["job"]["name"], gpu["node"]) == (GPU, "job", "digits", "node-1")


def test_a_token_that_is_none(page: PageProcess) -> None:
    with page.viewer("not.a.token") as client:
        refused = client.get("/api/feed")
    assert refused.status_code == 401
    assert refused.json()["message"].startswith("The API server does not accept this token")


def test_a_token_whose_account_is_gone_ends_the_feed(page: PageProcess, world: World) -> None:
    token = viewer_token(world.api, world.namespace, "leaver", {"view": world.namespace})
    world.api.delete(f"/api/v1/namespaces/{world.namespace}/serviceaccounts/leaver").raise_for_status()
    with page.viewer(token) as client:
        eventually(lambda: client.get("/api/feed").status_code == 401, "the token to be worth nothing")


def test_more_viewers_than_it_serves_are_refused_with_the_reason(viewer: httpx.Client, world: World) -> None:
    with feed(viewer, world.namespace), feed(viewer, world.namespace), feed(viewer, world.namespace):
        full = viewer.get("/api/feed", params={"namespace": world.namespace})
        assert (full.status_code, full.json()["message"][:21]) == (503, "3 pages are open, whi")

    def has_a_place() -> bool:
        with viewer.stream("GET", "/api/feed", params={"namespace": world.namespace}) as answer:
            return answer.status_code == 200

    eventually(has_a_place, "a place that is free again")


def test_details_of_a_job_with_its_events(viewer: httpx.Client, world: World) -> None:
    point = {"epoch": 1, "metrics": {"mAP50": 0.5}, "losses": {"box": 2.0}}
    curve = {"epochs": "1", "metrics": {"mAP50": "0.5"}, "losses": {"box": "2"}}
    job = put_job(world.api, world.namespace, "digits", phase="Training", conditions=[QUEUED], curve=curve)
    about = {name: job[name] for name in ("apiVersion", "kind")}
    about |= {name: job["metadata"][name] for name in ("namespace", "name", "uid")}
    event = {"metadata": {"name": "digits.1"}, "involvedObject": about, "reason": "PodCreated", "message": "created"}
    world.api.post(f"/api/v1/namespaces/{world.namespace}/events", json=event).raise_for_status()
    received = viewer.get(f"/api/jobs/{world.namespace}/digits").json()
    assert received["curve"] == [point]
    assert [(each["reason"], each["message"]) for each in received["events"]] == [("PodCreated", "created")]


def test_predictions_need_the_right_to_the_pods_proxy(
    page: PageProcess, viewer: httpx.Client, world: World, reachable_address: str
) -> None:
    """The real trainer's server, through the real API server's pod proxy."""
    image = [b"\xff\xd8\xff an image \xff\xd9"]
    sources = Sources(ProgressTracker().snapshot, int, int, lambda: (0, 0), lambda: image[0])
    trainer = ProgressServer(reachable_address, 8080, sources)
    trainer.start()
    try:
        world.create_pod("digits-1")
        world.bind_pod("digits-1", "node-1")
        world.run_pod("digits-1", ip=reachable_address)
        put_job(world.api, world.namespace, "digits", phase="Training", pod="digits-1")
        path = f"/api/jobs/{world.namespace}/digits/predictions"
        refused = viewer.get(path)
        assert refused.status_code == 403
        assert f"may not get pods/proxy in namespace {world.namespace}." in refused.json()["message"]
        token = viewer_token(world.api, world.namespace, "editor", {"edit": world.namespace})
        with page.viewer(token) as editor:
            seen = editor.get(path)
            assert (seen.status_code, seen.headers["content-type"], seen.content) == (200, "image/jpeg", image[0])
            image[0] = b"<script>alert(1)</script>"
            lied = editor.get(path)
            assert (lied.status_code, lied.json()["message"]) == (
                502,
                "The training pod sent something other than a JPEG image.",
            )
    finally:
        trainer.stop()


def test_it_asks_with_the_viewers_token_alone(cluster: Cluster, viewer: httpx.Client, world: World) -> None:
    """And only to read, by the API server's audit log."""
    before = audit.size(cluster.run_dir)
    world.apply_job("digits", suspend=True)
    with feed(viewer, world.namespace) as events:
        _until(events, "problems")
    viewer.get(f"/api/jobs/{world.namespace}/digits").raise_for_status()
    called = audit.calls(cluster.run_dir, audit.account(world.namespace, "viewer"), before)
    asked = {(call.resource, call.verb) for call in called}
    assert asked == {
        ("yolotrainingjobs", "list"), ("yolotrainingjobs", "watch"), ("yolotrainingjobs", "get"), ("events", "list"),
        ("leases", "list"), ("pods", "list"), ("admissionchecks", "list"),
    }  # fmt: skip


def test_it_ends_on_sigterm_while_a_viewer_is_connected(cluster: Cluster, world: World, tmp_path: Path) -> None:
    page = PageProcess(cluster, tmp_path / "page.log")
    token = viewer_token(world.api, world.namespace, "viewer", {"view": world.namespace})
    with page.viewer(token) as client, feed(client, world.namespace) as events:
        _until(events, "problems")
        assert page.stop() in {0, -signal.SIGTERM}, "uvicorn ends by the signal that it was sent"


def test_each_command_imports_what_it_needs_and_nothing_of_the_other() -> None:
    """The operator starts as fast as without the page, and the page is small."""
    script = "import sys; import gpu_relay.__main__; import {}; print(*sys.modules)"
    imported = {
        part: set(subprocess.check_output([sys.executable, "-c", script.format(part)], text=True).split())
        for part in ("gpu_relay.process", "relay_page.server")
    }
    assert not imported["gpu_relay.process"] & {"fastapi", "uvicorn", "starlette"}
    assert not imported["relay_page.server"] & {"kopf", "kubernetes", "gpu_relay.controllers"}


def _until(events: Iterator[tuple[str, Any]], wanted: str) -> Any:
    return next(data for name, data in events if name == wanted)


def _measured(events: Iterator[tuple[str, Any]]) -> Any:
    """Return the first GPU whose resident has reported it."""
    changes = (data["put"] for name, data in events if name == "gpus")
    return next(gpu for put in changes for gpu in put if gpu["used"] is not None)


def _hidden(events: Iterator[tuple[str, Any]]) -> Iterator[str]:
    return (each["hidden"] for name, data in events if name == "problems" for each in data["put"])


def _write_lease(api: httpx.Client, holder: str) -> None:
    meta = {
        "name": GPU, "labels": {"gpurelay.dev/gpu": GPU},
        "annotations": {"gpurelay.dev/node": "node-1", "gpurelay.dev/renew-key": "secret"},
    }  # fmt: skip
    spec = {"holderIdentity": holder, "leaseTransitions": 5, "acquireTime": "2026-01-01T00:00:00.000000Z"}
    api.post(LEASES, json={"metadata": meta, "spec": spec}).raise_for_status()
