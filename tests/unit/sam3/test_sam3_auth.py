"""Control: the token file, and TokenReview through the real client against an API server's side of it on loopback."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import kubernetes
import pytest

from sam3_server.auth import (
    ControlUnavailableError,
    ForbiddenError,
    TokenFile,
    TokenReviews,
    UnauthorizedError,
)

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

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/apis/authentication.k8s.io/v1/tokenreviews"
        self.reviews.append(review["spec"])
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
    return TokenReviews(api, "gpu-relay", ["gpu-relay:operator"], clock or Clock())


async def test_the_operators_token_passes_and_is_asked_about_once_in_a_while(api: Any) -> None:
    clock = Clock()
    control = reviews(api, clock)
    await control.check("good")
    await control.check("good")
    assert Reviewer.reviews == [{"token": "good", "audiences": ["gpu-relay"]}]
    clock.now = 31.0
    await control.check("good")
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
async def test_others_are_refused_each_time(api: Any, token: str | None, error: type[Exception]) -> None:
    control = reviews(api)
    for _ in range(2):
        with pytest.raises(error):
            await control.check(token)
    assert len(Reviewer.reviews) == (0 if token is None else 2)


async def test_an_api_server_that_ignores_audiences_does_not_open_the_door(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reviewer, "knows_audiences", False)
    with pytest.raises(UnauthorizedError, match="audience"):
        await reviews(api).check("good")


async def test_what_cannot_be_asked_is_unavailable_not_open(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reviewer, "broken", True)
    with pytest.raises(ControlUnavailableError):
        await reviews(api).check("good")
    nowhere = kubernetes.client.Configuration(host="http://127.0.0.1:9")
    nowhere.retries = 0
    with pytest.raises(ControlUnavailableError):
        await reviews(kubernetes.client.AuthenticationV1Api(kubernetes.client.ApiClient(nowhere))).check("good")


async def test_the_token_file_is_read_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one\n")
    control = TokenFile(path)
    await control.check("one")
    path.write_text("two\n")
    await control.check("two")
    for wrong in (None, "one", ""):
        with pytest.raises(UnauthorizedError):
            await control.check(wrong)


@pytest.mark.parametrize("content", [None, "", "\n"])
async def test_without_a_token_in_the_file_nobody_passes(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ControlUnavailableError):
        await TokenFile(path).check("")
