"""Control: the token file, and TokenReview through the real client against an API server's side of it on loopback."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import kubernetes
import pytest

from residency.api.auth import ControlUnavailableError, ForbiddenError, TokenFile, UnauthorizedError
from residency.api.token_reviews import TokenReviews

CLIENT = "10.0.0.1"
OPERATOR = "system:serviceaccount:gpu-relay:operator"


class Reviewer(BaseHTTPRequestHandler):
    """Answers TokenReviews as kube-apiserver does."""

    users: ClassVar[dict[str, tuple[str, list[str]]]] = {
        "good": (OPERATOR, ["gpu-relay"]),
        "elsewhere": (OPERATOR, ["vault"]),
        "stranger": ("system:serviceaccount:default:stranger", ["gpu-relay"]),
    }
    reviews: ClassVar[list[dict[str, Any]]] = []
    broken: ClassVar[bool] = False
    knows_audiences: ClassVar[bool] = True
    wait_for: ClassVar[threading.Event | None] = None

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/apis/authentication.k8s.io/v1/tokenreviews"
        self.reviews.append(review["spec"])
        if self.wait_for is not None:
            self.wait_for.wait(20)
        user, audiences = self.users.get(review["spec"]["token"], ("", []))
        agreed = [audience for audience in audiences if audience in review["spec"]["audiences"]]
        status: dict[str, Any] = {"authenticated": bool(agreed)}
        if agreed:
            status |= {"user": {"username": user}}
        if agreed and self.knows_audiences:
            status |= {"audiences": agreed}
        body = json.dumps(
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {}, "status": status}
        )
        self.send_response(500 if self.broken else 201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""


@pytest.fixture
def api() -> Iterator[Any]:
    Reviewer.reviews.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Reviewer)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    configuration = kubernetes.client.Configuration(host=f"http://127.0.0.1:{server.server_port}")
    configuration.retries = 0
    yield kubernetes.client.AuthenticationV1Api(kubernetes.client.ApiClient(configuration))
    server.shutdown()
    server.server_close()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def reviews(api: Any, clock: Clock | None = None) -> TokenReviews:
    return TokenReviews(api, "gpu-relay", ["gpu-relay:operator"], "SAM3_CONTROL_SERVICE_ACCOUNTS", clock or Clock())


async def test_the_operators_token_is_reviewed_once_in_a_while(api: Any) -> None:
    clock = Clock()
    control = reviews(api, clock)
    await control.check("good", CLIENT)
    await control.check("good", CLIENT)
    assert Reviewer.reviews == [{"token": "good", "audiences": ["gpu-relay"]}]
    clock.now = 31.0
    await control.check("good", CLIENT)
    assert len(Reviewer.reviews) == 2


@pytest.mark.parametrize(
    ("token", "error"),
    [
        (None, UnauthorizedError),
        ("forged", UnauthorizedError),
        ("elsewhere", UnauthorizedError),
        ("stranger", ForbiddenError),
    ],
)
async def test_others_are_refused_and_asked_about_again_after_a_second(
    api: Any, token: str | None, error: type[Exception]
) -> None:
    clock = Clock()
    control = reviews(api, clock)
    for _ in range(3):
        with pytest.raises(error):
            await control.check(token, CLIENT)
    assert len(Reviewer.reviews) == (0 if token is None else 1)
    clock.now = 1.1
    with pytest.raises(error):
        await control.check(token, CLIENT)
    assert len(Reviewer.reviews) == (0 if token is None else 2)


async def test_invalid_tokens_cause_few_reviews_and_delay_no_other_client(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = reviews(api)
    answering = threading.Event()
    monkeypatch.setattr(Reviewer, "wait_for", answering)
    flood = [asyncio.create_task(control.check(f"made-up-{number}", "10.0.0.66")) for number in range(500)]
    await _until(lambda: len(Reviewer.reviews) == 2)
    monkeypatch.setattr(Reviewer, "wait_for", None)
    await control.check("good", CLIENT)
    answering.set()
    refused = await asyncio.gather(*flood, return_exceptions=True)
    assert {type(each) for each in refused} == {UnauthorizedError, ControlUnavailableError}
    assert len(Reviewer.reviews) <= 1 + 10


async def test_a_clients_share_of_reviews_comes_back_with_the_next_second(api: Any) -> None:
    clock = Clock()
    control = reviews(api, clock)
    for number in range(20):
        with pytest.raises(UnauthorizedError if number < 10 else ControlUnavailableError):
            await control.check(f"made-up-{number}", CLIENT)
    await control.check("good", "10.0.0.2")
    clock.now = 1.0
    await control.check("good", CLIENT)


async def test_many_refusals_do_not_make_it_forget_what_is_good(api: Any) -> None:
    control = reviews(api)
    await control.check("good", CLIENT)
    for number in range(300):
        with pytest.raises(UnauthorizedError):
            await control.check(f"made-up-{number}", f"10.1.{number}.1")
    asked = len(Reviewer.reviews)
    await control.check("good", CLIENT)
    assert len(Reviewer.reviews) == asked


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_an_api_server_that_ignores_audiences_does_not_open_the_door(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reviewer, "knows_audiences", False)
    with pytest.raises(UnauthorizedError, match="audience"):
        await reviews(api).check("good", CLIENT)


async def test_what_cannot_be_asked_is_unavailable_not_open(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reviewer, "broken", True)
    with pytest.raises(ControlUnavailableError):
        await reviews(api).check("good", CLIENT)
    nowhere = kubernetes.client.Configuration(host="http://127.0.0.1:9")
    nowhere.retries = 0
    with pytest.raises(ControlUnavailableError):
        await reviews(kubernetes.client.AuthenticationV1Api(kubernetes.client.ApiClient(nowhere))).check("good", CLIENT)


async def test_the_token_file_is_read_again_at_each_call(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one\n")
    control = TokenFile(path)
    await control.check("one", CLIENT)
    path.write_text("two\n")
    await control.check("two", CLIENT)
    for wrong in (None, "one", ""):
        with pytest.raises(UnauthorizedError):
            await control.check(wrong, CLIENT)


@pytest.mark.parametrize("content", [None, "", "\n"])
async def test_without_a_token_in_the_file_no_client_passes(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ControlUnavailableError):
        await TokenFile(path).check("", CLIENT)
