import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from yolo_trainer.job.spec import Hold
from yolo_trainer.training.hold_renewer import HoldRenewer


class Resident:
    """A resident's hold endpoint: answers with `status`, and remembers what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.requests: list[tuple[str, dict[str, Any]]] = []
        resident = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                resident.requests.append((self.path, body))
                self.send_response(resident.status)
                self.end_headers()
                self.wfile.write(b'{"detail": "what it says"}')

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def hold(self, ttl_seconds: float) -> Hold:
        return Hold(
            url=f"http://127.0.0.1:{self.server.server_address[1]}/", fence=3, renewKey="key", ttlSeconds=ttl_seconds
        )


@pytest.fixture
def resident() -> Iterator[Resident]:
    resident = Resident()
    yield resident
    resident.stop()


@pytest.fixture
def renewing() -> Iterator[Callable[[Hold], HoldRenewer]]:
    renewers = []

    def start(hold: Hold) -> HoldRenewer:
        renewer = HoldRenewer(hold)
        renewers.append(renewer)
        renewer.start()
        return renewer

    yield start
    for renewer in renewers:
        renewer.stop()


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_renews_at_once_and_then_again_and_again(
    resident: Resident, renewing: Callable[[Hold], HoldRenewer]
) -> None:
    renewer = renewing(resident.hold(ttl_seconds=0.15))

    eventually(lambda: renewer.renewed >= 3)

    assert set(map(str, resident.requests)) == {str(("/api/v1/hold/renew", {"fence": 3, "renew_key": "key"}))}
    assert renewer.failed == 0


def test_it_waits_a_third_of_the_ttl(resident: Resident, renewing: Callable[[Hold], HoldRenewer]) -> None:
    renewer = renewing(resident.hold(ttl_seconds=3600))

    eventually(lambda: renewer.renewed == 1)
    time.sleep(0.1)

    assert renewer.renewed == 1


@pytest.mark.parametrize("status", [403, 409, 500])
def test_a_refusal_is_said_once_and_tried_again(
    resident: Resident, renewing: Callable[[Hold], HoldRenewer], caplog: pytest.LogCaptureFixture, status: int
) -> None:
    resident.status = status
    with caplog.at_level(logging.INFO):
        renewer = renewing(resident.hold(ttl_seconds=0.15))
        eventually(lambda: renewer.failed >= 3)
        resident.status = 200
        eventually(lambda: renewer.renewed >= 1)
        eventually(lambda: "is renewed again" in caplog.text)

    assert caplog.text.count("could not be renewed") == 1
    assert f"it answered {status}" in caplog.text
    assert "what it says" in caplog.text
    assert '"key"' not in caplog.text


def test_an_unreachable_resident_is_never_fatal(
    resident: Resident, renewing: Callable[[Hold], HoldRenewer], caplog: pytest.LogCaptureFixture
) -> None:
    hold = resident.hold(ttl_seconds=0.15)
    resident.stop()

    renewer = renewing(hold)

    eventually(lambda: renewer.failed >= 3)
    assert "Connection refused" in caplog.text


def test_a_proxy_in_the_environment_is_not_used(
    resident: Resident, renewing: Callable[[Hold], HoldRenewer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    renewer = renewing(resident.hold(ttl_seconds=0.15))

    eventually(lambda: renewer.renewed >= 1)
