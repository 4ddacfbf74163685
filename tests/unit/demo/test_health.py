"""The poller sends on time whatever the server does, and counts what is no answer."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from demo.health import HealthPoller, Poll, between, changes, poll_once, summary
from devcluster.waiting import eventually

OK = b'{"status": "ok", "model_loaded": true, "state": "loaded", "hold": null}'


class Server(ThreadingHTTPServer):
    """Answers `/health`; waits for `gate` first, so that a test can make it stall."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.gate = threading.Event()
        self.gate.set()
        self.connections = 0
        self.paths: set[str] = set()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        self.server.paths.add(self.path)
        self.server.gate.wait(10)
        self.send_response(200)
        self.send_header("Content-Length", str(len(OK)))
        self.end_headers()
        self.wfile.write(OK)

    def handle_one_request(self) -> None:
        with suppress(ConnectionError):  # a poll that was abandoned
            super().handle_one_request()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[tuple[Server, str]]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server, f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_every_poll_is_counted_on_a_connection_of_its_own() -> None:
    with serving() as (server, url):
        with HealthPoller(url, per_second=100) as poller:
            eventually(lambda: len(poller.polls()) >= 10, "ten polls")
        seen = summary(poller.polls())
        assert server.paths == {"/health"}
        assert server.connections == seen.polls
    assert seen.failures == ()
    assert seen.loaded == seen.polls
    assert 0 < seen.slowest < 10


def test_polls_continue_while_the_server_stalls() -> None:
    with serving() as (server, url), HealthPoller(url, per_second=100) as poller:
        server.gate.clear()
        eventually(lambda: server.connections >= 8, "eight polls under way at once")
        server.gate.set()
        eventually(lambda: len(poller.polls()) >= 8, "their answers")


def test_a_stalled_server_fails_its_polls() -> None:
    with serving() as (server, url):
        server.gate.clear()
        with HealthPoller(url, per_second=50, timeout=0.1) as poller:
            eventually(lambda: len(poller.polls()) >= 3, "three polls given up")
        server.gate.set()
    assert all("Timeout" in poll.problem for poll in poller.polls())


def test_a_server_that_is_gone_fails_its_polls() -> None:
    with serving() as (_, url):
        pass
    with HealthPoller(url, per_second=100) as poller:
        eventually(poller.polls, "a poll")
    assert summary(poller.polls()).failures[0].problem.startswith("ConnectError")


@pytest.mark.parametrize(
    ("status", "body", "loaded", "problem"),
    [
        (200, OK.decode(), True, ""),
        (200, OK.decode().replace("true", "false"), False, ""),
        (503, OK.decode(), None, "status 503"),
        (200, "<html>", None, "the answer is no JSON"),
        (200, "[]", None, "the answer makes no sense: []"),
        (200, '{"status": "ok"}', None, 'the answer makes no sense: {"status": "ok"}'),
        (200, '{"status": "failed", "model_loaded": true}', None, "the answer makes no sense"),
        (200, '{"status": "ok", "model_loaded": "true"}', None, "the answer makes no sense"),
    ],
)
def test_only_a_sound_answer_is_one(status: int, body: str, loaded: bool | None, problem: str) -> None:
    poll = poll_once(lambda _: httpx.Response(status, text=body), "http://sam3/health")
    assert poll.loaded is loaded
    assert poll.problem.startswith(problem)
    assert poll.answered is (problem == "")


def test_a_summary_counts_apart_and_ignores_how_long_failures_took() -> None:
    polls = [Poll(1, 0.1, True), Poll(2, 0.3, False), Poll(3, 5.0, None, "ReadTimeout"), Poll(4, 0.2, False)]
    seen = summary(polls)
    assert (seen.polls, seen.loaded, seen.unloaded, seen.slowest) == (4, 1, 2, 0.3)
    assert seen.failures == (polls[2],)


def test_no_polls_have_a_summary_too() -> None:
    assert summary([]).slowest == 0.0


def test_between_wants_a_poll_inside_from_question_to_answer() -> None:
    polls = [Poll(9.9, 0.2, True), Poll(10.0, 0.1, False), Poll(11.5, 0.5, False), Poll(11.6, 0.5, True)]
    assert between(polls, 10, 12) == polls[1:3]


def test_changes_are_found_in_the_order_of_sending_and_past_failures() -> None:
    first, lost, off, still_off, on = (
        Poll(1, 0.1, True),
        Poll(2, 0.1, None, "status 500"),
        Poll(3, 0.1, False),
        Poll(4, 0.1, False),
        Poll(5, 0.1, True),
    )
    assert changes([on, still_off, lost, first, off]) == [first, off, on]


def test_polls_keep_their_wall_clock() -> None:
    before = time.time()
    poll = poll_once(lambda _: httpx.Response(200, content=OK), "http://sam3/health")
    assert before <= poll.sent <= time.time()
