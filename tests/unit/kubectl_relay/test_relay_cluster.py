"""What the API server's refusals become: sentences that say what to change, and exit codes."""

import gc
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gpu_relay.domain.objects.resident import ResidentPod
from kubectl_relay.commands import cli
from kubectl_relay.effects.cluster import Cluster
from kubectl_relay.exits import Exit, RelayError
from tests.unit.kubectl_relay.relay_api import write_kubeconfig


@dataclass
class Answers:
    """An API server that answers everything alike."""

    status: int = 404
    body: bytes = b"404 page not found\n"
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    """The answers of the cluster that $KUBECONFIG names."""
    given = Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given.asked.append(self.path)
            self.send_response(given.status)
            self.send_header("Content-Length", str(len(given.body)))
            self.end_headers()
            self.wfile.write(given.body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    write_kubeconfig(tmp_path / "config", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    yield given
    server.shutdown()
    server.server_close()


def run(*arguments: str) -> Result:
    gc.collect()  # closes an earlier command's connections now, not within this command's event loop
    return CliRunner().invoke(cli, arguments, standalone_mode=False)


def refused(*arguments: str) -> RelayError:
    error = run(*arguments, "--kubeconfig", _in_use()).exception
    assert isinstance(error, RelayError), error
    return error


def _in_use() -> str:
    return os.environ["KUBECONFIG"]


def status(code: int, message: str, **details: str) -> bytes:
    return json.dumps({"kind": "Status", "code": code, "message": message, "details": details}).encode()


@pytest.mark.parametrize("command", [["gpus"], ["explain", "digits"], ["watch", "digits"], ["cancel", "digits"]])
def test_a_cluster_without_the_crd(answers: Answers, command: list[str]) -> None:
    error = refused(*command)
    assert error.code == Exit.NOT_INSTALLED
    assert "yolotrainingjobs.gpurelay.dev is not installed (kubectl apply -f crds/)" in str(error)


def test_a_right_that_is_missing_is_named_as_a_role_grants_it(answers: Answers) -> None:
    answers.status, answers.body = 403, status(403, 'User "u" cannot get resource "yolotrainingjobs"')
    error = refused("explain", "digits")
    assert error.code == Exit.FORBIDDEN
    assert str(error) == (
        'you may not get yolotrainingjobs.gpurelay.dev in namespace vision (a rule with apiGroups ["gpurelay.dev"], '
        'resources ["yolotrainingjobs"], verbs ["get"])'
    )


def test_credentials_that_are_not_accepted(answers: Answers) -> None:
    answers.status, answers.body = 401, status(401, "Unauthorized")
    error = refused("explain", "digits")
    assert error.code == Exit.FORBIDDEN
    assert "does not accept your credentials: Unauthorized" in str(error)


def test_a_server_in_trouble(answers: Answers) -> None:
    answers.status, answers.body = 500, status(500, "etcdserver: request timed out")
    error = refused("explain", "digits")
    assert (error.code, str(error)) == (Exit.ERROR, "etcdserver: request timed out (500)")


def test_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_kubeconfig(tmp_path / "config", "http://127.0.0.1:1")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    error = refused("gpus")
    assert error.code == Exit.ERROR
    assert str(error).startswith("cannot reach the API server at http://127.0.0.1:1: ")
    assert "refused" in str(error)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--kubeconfig", "/nowhere"], "cannot use the kubeconfig /nowhere"),
        (["--context", "there"], "the kubeconfig has no context 'there'; it has: here"),
    ],
)
def test_no_such_configuration(answers: Answers, arguments: list[str], said: str) -> None:
    error = run("gpus", *(["--kubeconfig", _in_use()] if "--context" in arguments else []), *arguments).exception
    assert isinstance(error, RelayError)
    assert said in str(error)


def test_a_kubeconfig_that_is_not_yaml_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text("contexts: [")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    assert str(refused("gpus")).startswith(f"cannot use the kubeconfig {tmp_path / 'config'}: while parsing")


def test_a_user_who_acts_as_another_is_not_taken_for_himself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_kubeconfig(tmp_path / "config", "http://127.0.0.1:1", **{"as": "somebody"})
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    assert "user u of the kubeconfig impersonates another" in str(refused("gpus"))


@pytest.mark.parametrize("order", [["-n", "other", "explain", "x"], ["explain", "-n", "other", "x"]])
def test_options_may_stand_before_a_command_or_after_it(answers: Answers, order: list[str]) -> None:
    refused(*order)
    assert answers.asked == ["/apis/gpurelay.dev/v1alpha1/namespaces/other/yolotrainingjobs/x"]


def test_a_duration_that_is_none(answers: Answers) -> None:
    result = run("timeline", "--since", "yesterday")
    assert "'yesterday' is not a duration; write it in h, m, s or ms, for example 90s or 1h30m" in str(result.exception)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[" * 70_000, "the answer of pod sam3 has more than 65,536 bytes"),
        (b"[]", "pod sam3 does not answer with a JSON object"),
        (b"{" * 5_000, "pod sam3 does not answer with a JSON object"),
    ],
)
def test_what_a_pod_answers_is_bounded(answers: Answers, body: bytes, said: str) -> None:
    """Any pod may have the label of residents."""
    answers.status, answers.body = 200, body
    gc.collect()
    pod = ResidentPod("team", "sam3", "u", "node-1", "10.0.0.1", "Running", False, "", {}, {})
    [answer] = Cluster.connect(os.environ["KUBECONFIG"], None).reports([pod])
    assert isinstance(answer, RelayError)
    assert str(answer) == said
