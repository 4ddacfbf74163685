"""What the page asks a scripted API server with a viewer's token, and the sentences for what is refused."""

import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from gpu_relay.clients.resources import JOBS
from gpu_relay.domain.objects.resident import ResidentPod, resident_pod_of
from relay_page.app import create_app
from relay_page.reports import ResidentReports
from relay_page.settings import PageSettings
from relay_page.viewer_client import ExpiredError, ViewerClient, ViewerClientError, open_session
from tests.unit.kubectl_relay.relay_api import Api
from tests.unit.page.test_page_views import job, pod

ALL_JOBS = "/apis/gpurelay.dev/v1alpha1/yolotrainingjobs"
JOB = "/apis/gpurelay.dev/v1alpha1/namespaces/vision/yolotrainingjobs/digits"
LOG = "/api/v1/namespaces/vision/pods/digits-1/log"
PREDICTIONS = "/api/v1/namespaces/vision/pods/digits-1:8080/proxy/predictions.jpg"
REPORT = "/api/v1/namespaces/gpu-relay/pods/sam3:8000/proxy/api/v1/gpu"
VIEWER = "system:serviceaccount:vision:viewer"
REPORTED = {
    "uuid": "GPU-5f0c", "name": "Tesla T4", "total_mib": 15360, "reserved_mib": 450, "used_mib": 14000,
    "free_mib": 910, "model_loaded": True, "state": "loaded", "hold": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def api(authority: trustme.CA) -> Iterator[Api]:
    """A scripted API server behind TLS, on loopback."""
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = api.take(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    api.url = f"https://127.0.0.1:{server.server_address[1]}"
    yield api
    server.shutdown()
    server.server_close()


@pytest.fixture
async def page(api: Api, authority: trustme.CA, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    file = tmp_path / "ca.crt"
    authority.cert_pem.write_to_path(file)
    app = create_app(PageSettings(api_server=api.url, ca_file=file))
    transport, token = httpx.ASGITransport(app=app), {"Authorization": "Bearer some.token"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://page", headers=token) as page,
    ):
        yield page


def forbid(api: Api, path: str, what: str) -> None:
    """Refuse a request as the API server does for lack of a right."""
    api.refuse(path, 403, f'{what} is forbidden: User "{VIEWER}" cannot do this at the cluster scope')


async def sentence(page: httpx.AsyncClient, path: str, status: int) -> str:
    answer = await page.get(path)
    assert answer.status_code == status, answer.text
    return str(answer.json()["message"])


# jobs


async def test_a_viewer_of_one_namespace_is_asked_to_name_it(page: httpx.AsyncClient, api: Api) -> None:
    forbid(api, ALL_JOBS, "yolotrainingjobs.gpurelay.dev")
    assert await sentence(page, "/api/feed", 403) == (
        f"Your account ({VIEWER}) may not list yolotrainingjobs in all namespaces. "
        "Name a namespace in which it may: the role `view` there is enough."
    )


async def test_a_cluster_without_the_crd_is_named(page: httpx.AsyncClient, api: Api) -> None:
    for path in ("/api/feed", "/api/jobs/vision/digits"):
        assert (await sentence(page, path, 404)).startswith("This cluster knows no YoloTrainingJobs")


async def test_a_job_that_has_been_deleted(page: httpx.AsyncClient, api: Api) -> None:
    api.refuse(JOB, 404, 'yolotrainingjobs.gpurelay.dev "digits" not found', name="digits")
    deleted = "There is no job vision/digits: it may have been deleted."
    assert await sentence(page, "/api/jobs/vision/digits", 404) == deleted


async def test_events_that_may_not_be_read_leave_the_job(page: httpx.AsyncClient, api: Api) -> None:
    api.answer(JOB, job())
    forbid(api, "/api/v1/namespaces/vision/events", "events")
    read = (await page.get("/api/jobs/vision/digits")).json()
    assert read["eventsProblem"] == f"Your account ({VIEWER}) may not list events in namespace vision."


# logs


async def test_the_log_is_the_end_of_the_newest_pods(page: httpx.AsyncClient, api: Api) -> None:
    api.answer(JOB, job(pod="digits-1", attempt=1))
    api.answer(LOG, b"epoch 1\nepoch 2\n")
    log = (await page.get("/api/jobs/vision/digits/log")).json()
    assert log == {"source": "pod digits-1 (attempt 1)", "lines": 200, "text": "epoch 1\nepoch 2\n"}
    assert api.asked[-1] == f"{LOG}?container=trainer&tailLines=200&limitBytes=262144"


async def test_a_job_without_a_pod_has_no_log(page: httpx.AsyncClient, api: Api) -> None:
    api.answer(JOB, job(phase="Queued"))
    message = "The job has had no pod yet, so it has no log."
    assert await sentence(page, "/api/jobs/vision/digits/log", 404) == message


async def test_why_a_pod_has_no_log(page: httpx.AsyncClient, api: Api) -> None:
    api.answer(JOB, job(pod="digits-1", attempt=1))
    api.refuse(LOG, 404, 'pods "digits-1" not found', name="digits-1")
    api.refuse(LOG, 400, 'container "trainer" in pod "digits-1" is waiting to start: ContainerCreating')
    forbid(api, LOG, 'pods "digits-1"')
    said = [await sentence(page, "/api/jobs/vision/digits/log", status) for status in (404, 404, 403)]
    assert said == [
        "There is no log: pod digits-1 (attempt 1) no longer exists.",
        "There is no log yet: pod digits-1 (attempt 1) has not started.",
        f"Your account ({VIEWER}) may not get pods/log in namespace vision.",
    ]


# bounds


async def test_what_is_too_large_or_no_object_is_not_shown(page: httpx.AsyncClient, api: Api) -> None:
    api.answer(JOB, b"no JSON")
    said = [await sentence(page, "/api/jobs/vision/digits", 502)]
    api.answers.clear()
    api.answer(JOB, job(pod="digits-1", attempt=1))
    api.answer(LOG, b"x" * 262_145)
    said.append(await sentence(page, "/api/jobs/vision/digits/log", 502))
    assert said == ["The API server's response is not a JSON object.", "The answer has more than 262,144 bytes."]


async def watched(api: Api, authority: trustme.CA, line: bytes) -> list[tuple[str, Any]]:
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    api.answer(ALL_JOBS, line + b"\n")
    async with open_session(tls) as session:
        return [change async for change in ViewerClient(session, api.url, "some.token").watch(JOBS, None, "", "1")]


async def test_a_watch_asks_for_bookmarks_and_passes_them_on(api: Api, authority: trustme.CA) -> None:
    assert await watched(api, authority, b'{"type": "BOOKMARK", "object": {}}') == [("BOOKMARK", {})]
    assert "allowWatchBookmarks=true" in api.asked[0]


async def test_how_a_watch_ends(api: Api, authority: trustme.CA) -> None:
    with pytest.raises(ExpiredError):
        await watched(api, authority, b'{"type": "ERROR", "object": {"code": 410}}')
    api.answers.clear()
    with pytest.raises(ViewerClientError, match="an object that is too large to show"):
        await watched(api, authority, b"x" * (9 * 2**20))


# pods behind the API server


async def test_why_there_is_no_image(page: httpx.AsyncClient, api: Api) -> None:
    api.answer(JOB, job(pod="digits-1", attempt=1))
    api.refuse(PREDICTIONS, 503, "error trying to reach service: dial tcp 10.0.0.7:8080: i/o timeout")
    api.answer(PREDICTIONS, b"no image yet: the first validation draws one\n", 404)
    said = [await sentence(page, "/api/jobs/vision/digits/predictions", status) for status in (502, 404)]
    assert said == [
        "The API server cannot reach pod digits-1 at port 8080: the pod may have ended, "
        "or a NetworkPolicy does not allow the API server's address.",
        "no image yet: the first validation draws one",
    ]


class _EndError(Exception):
    """Ends the loop of reports after one round."""


async def _end(_: float) -> None:
    raise _EndError


async def one_round(api: Api, authority: trustme.CA, *pods: ResidentPod) -> ResidentReports:
    """Ask residents once; returns the reports."""
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    async with open_session(tls) as session:
        reports = ResidentReports(ViewerClient(session, api.url, "some.token"))
        with pytest.raises(_EndError):
            await reports.follow(lambda: pods, lambda: None, _end)
    return reports


async def test_residents_are_asked_at_their_port(api: Api, authority: trustme.CA) -> None:
    api.answer(REPORT, REPORTED)
    elsewhere = resident_pod_of(pod("sam3-2", annotations={"gpurelay.dev/port": "9000"}))
    api.answer("/api/v1/namespaces/gpu-relay/pods/sam3-2:9000/proxy/api/v1/gpu", {**REPORTED, "uuid": "a GPU"})
    sam3 = resident_pod_of(pod())
    reports = await one_round(api, authority, sam3, elsewhere)
    report = reports.resident(sam3).report
    assert report is not None
    assert (report.state, report.used_mib) == ("loaded", 14000)
    assert reports.resident(elsewhere).error.startswith("Its answer cannot be read: its report is invalid: uuid")


async def test_a_resident_that_does_not_answer_is_asked_again(api: Api, authority: trustme.CA) -> None:
    api.refuse(REPORT, 503, "no endpoints available")
    sam3 = resident_pod_of(pod())
    reports = await one_round(api, authority, sam3)
    assert (reports.resident(sam3).report, reports.missing_right) == (None, None)
    assert reports.resident(sam3).error.startswith("The API server cannot reach pod sam3 at port 8000")


@pytest.mark.parametrize("status", [401, 403])
async def test_a_pod_that_refuses_concerns_no_other_pod(api: Api, authority: trustme.CA, status: int) -> None:
    """A pod of any namespace may have the label of residents, and answer as the API server does."""
    api.answer(REPORT, REPORTED)
    hostile = resident_pod_of(pod("hostile"))
    forged = "/api/v1/namespaces/gpu-relay/pods/hostile:8000/proxy/api/v1/gpu"
    api.refuse(forged, status, 'User "system:anonymous" cannot get this')
    sam3 = resident_pod_of(pod())
    reports = await one_round(api, authority, hostile, sam3)
    assert reports.missing_right is None
    assert reports.resident(sam3).report is not None
    assert reports.resident(hostile).error


async def test_without_the_right_residents_are_asked_once(api: Api, authority: trustme.CA) -> None:
    forbid(api, REPORT, 'pods "sam3"')
    reports = await one_round(api, authority, resident_pod_of(pod()))
    assert str(reports.missing_right) == "get pods/proxy in namespace gpu-relay"
    await reports.follow(lambda: [resident_pod_of(pod())], lambda: None, _end)
    assert len(api.asked) == 1
