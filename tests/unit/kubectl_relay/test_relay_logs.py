"""The log of a job: of which pod, what the API server is asked, and what is said where there is none."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from gpu_relay.api.v1alpha1 import Preparation
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.quantities import timestamp
from gpu_relay.overview.log_source import LogSource
from kubectl_relay import logs
from kubectl_relay.exits import Exit, RelayError
from kubectl_relay.views.log_source import log_source, pod_gone
from kubectl_relay.views.text import log_lines
from tests.unit.kubectl_relay.relay_api import Api, api_in_use, invoke, raw
from tests.unit.kubectl_relay.relay_world import NOW, ago, attempt, condition, job, training

JOB = "/apis/gpurelay.dev/v1alpha1/namespaces/vision/yolotrainingjobs/digits"
LOG = "/api/v1/namespaces/vision/pods/digits-1/log"
POD = "/api/v1/namespaces/vision/pods/digits-1"
PREPARING = Preparation(number=1, pod="digits-prepare-1", start_time=timestamp(ago(minutes=1)), message="12 images")


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """The API server of the kubeconfig in use; it has the job digits, which trains in pod digits-1."""
    monkeypatch.setattr(logs, "_PAUSE", 0.0)
    with api_in_use(tmp_path, monkeypatch) as api:
        api.answer(JOB, raw(training()))
        yield api


def run(*arguments: str) -> Result:
    return invoke("logs", "digits", *arguments)


def refused(*arguments: str) -> RelayError:
    error = run(*arguments).exception
    assert isinstance(error, RelayError), error
    return error


@pytest.mark.parametrize(
    ("of", "source"),
    [
        (job(phase="Preparing", preparation=PREPARING), LogSource("digits-prepare-1", None)),
        (job(phase="Queued", preparation=PREPARING), LogSource("digits-prepare-1", None)),
        (job(phase="Failed", preparation=PREPARING), LogSource("digits-prepare-1", None)),
        (training(preparation=PREPARING), LogSource("digits-1", 1)),
        (job(phase="Queued", pod="digits-1", attempt=1, preparation=PREPARING), LogSource("digits-1", 1)),
        (job(phase="Succeeded", pod="digits-2", attempt=2), LogSource("digits-2", 2)),
    ],
)
def test_the_log_is_that_of_the_newest_attempt_or_of_the_preparation(of: Job, source: LogSource) -> None:
    assert log_source(of) == source


def test_an_earlier_attempt_has_its_own_log() -> None:
    twice = job(phase="Training", pod="digits-2", attempt=2, attempts=[attempt(1, 6)])
    assert log_source(twice, 1) == LogSource("digits-1", 1)
    assert log_source(twice, 2) == LogSource("digits-2", 2)
    with pytest.raises(RelayError, match="vision/digits has no attempt 3; its attempts are 1, 2") as error:
        log_source(twice, 3)
    assert error.value.code == Exit.NOT_FOUND
    with pytest.raises(RelayError, match="has no attempt 1; it has had none yet"):
        log_source(job(), 1)


def test_a_job_without_a_pod_says_why_it_has_none() -> None:
    waits = condition("Reconciling", "WaitingToPrepare", "two other jobs are being prepared")
    with pytest.raises(RelayError) as error:
        log_source(job(phase="Preparing", conditions=[waits]))
    assert str(error.value) == (
        "vision/digits has had no pod yet, so it has no log (WaitingToPrepare: two other jobs are being prepared)"
    )


def test_a_pod_that_is_gone_is_said_with_its_end_and_its_results() -> None:
    done = job(phase="Succeeded", pod="digits-1", attempt=1, attempts=[attempt(1, 6)])
    assert str(pod_gone(done, log_source(done), NOW)) == (
        "pod digits-1 (attempt 1) no longer exists, nor does its log. It ended 10m 00s ago: Completed: said so. "
        "What it has written is on PVC results. `kubectl relay -n vision explain digits` has the job's history"
    )
    waits = job(phase="Queued", preparation=PREPARING)
    assert str(pod_gone(waits, log_source(waits), NOW)) == (
        "pod digits-prepare-1 (preparation) no longer exists, nor does its log. Its last message: 12 images. "
        "`kubectl relay -n vision explain digits` has the job's history"
    )


@pytest.mark.parametrize(
    ("parts", "lines"),
    [
        ([b"one\ntw", b"o\n", b"three"], ["one", "two", "three"]),
        ([b"one\r", b"\ntwo\r\n"], ["one", "two"]),
        ([b" 1%\r", b" 2%\r", b" 3%\n"], [" 1%", " 2%", " 3%"]),
        ([b"\x1b[3", b"4mblue\x1b[0m \x1b[K\n"], ["blue "]),
        ([b"\xc3", b"\xa4\xff\n"], ["ä\ufffd"]),
        ([b"a\x1b]0;owned\x07\n"], ["a\ufffd]0;owned\ufffd"]),
        ([b"one\n\ntwo\n"], ["one", "", "two"]),
        ([], []),
    ],
)
def test_a_log_is_read_in_whole_lines_without_colours(parts: list[bytes], lines: list[str]) -> None:
    assert list(log_lines(parts)) == lines


def test_a_line_is_printed_when_it_is_complete_and_not_later() -> None:
    read = log_lines(iter([b"one\ntwo", b"\n"]))
    assert next(read) == "one"


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    first = next(log_lines(b"x" * 4096 for _ in range(1000)))
    assert len(first) <= 2 * (1 << 16)


def test_the_trainers_log_is_asked_for_and_printed(api: Api) -> None:
    api.answer(LOG, b"epoch 1\n\x1b[31mepoch 2\x1b[0m\n")
    done = run()
    assert (done.exit_code, done.stdout) == (0, "epoch 1\nepoch 2\n")
    assert done.stderr == "vision/digits: pod digits-1 (attempt 1)\n"
    assert api.asked == [JOB, f"{LOG}?container=trainer"]


def test_following_asks_the_api_server_to_follow(api: Api) -> None:
    api.answer(LOG, b"epoch 1\n")
    assert run("-f").stdout == "epoch 1\n"
    assert api.asked[-1] == f"{LOG}?container=trainer&follow=true"


def test_following_waits_for_a_pod_that_has_not_started(api: Api) -> None:
    for _ in range(3):
        api.refuse(LOG, 400, 'container "trainer" in pod "digits-1" is waiting to start: ContainerCreating')
    api.answer(LOG, b"epoch 1\n")
    done = run("--follow")
    assert (done.exit_code, done.stdout) == (0, "epoch 1\n")
    assert done.stderr.count("has not started: waiting for it") == 1
    assert api.asked.count(f"{LOG}?container=trainer&follow=true") == 4


def test_a_pod_that_has_not_started_is_a_sentence(api: Api) -> None:
    api.refuse(LOG, 400, 'container "trainer" in pod "digits-1" is waiting to start: ContainerCreating')
    assert str(refused()) == (
        'pod digits-1 (attempt 1) has not started: container "trainer" in pod "digits-1" is waiting to start: '
        "ContainerCreating. Add --follow to wait for it; `kubectl relay -n vision explain digits` says more"
    )


def test_an_empty_log_of_a_pod_without_a_node_is_no_log(api: Api) -> None:
    api.answer(LOG, b"")
    api.answer(POD, {"metadata": {"name": "digits-1"}, "spec": {}})
    assert "(attempt 1) has not started: it has not been assigned to a node. Add --follow" in str(refused())
    api.answers[POD] = []
    api.answer(POD, {"metadata": {"name": "digits-1"}, "spec": {"nodeName": "node-1"}})
    assert (run().exit_code, run().stdout) == (0, ""), "a container that has printed nothing"
    api.answers[POD] = []
    api.refuse(POD, 403, 'User "u" cannot get resource "pods"')
    assert (run().exit_code, run().stdout) == (0, "")


def test_a_pod_that_is_gone_is_a_sentence(api: Api) -> None:
    api.refuse(LOG, 404, 'pods "digits-1" not found', name="digits-1", kind="pods")
    assert str(refused()).startswith("pod digits-1 (attempt 1) no longer exists, nor does its log. What it has written")


def test_a_node_that_does_not_answer_is_its_own_message(api: Api) -> None:
    api.refuse(LOG, 502, "error trying to reach service: dial tcp 10.0.0.7:10250: connect: connection refused")
    assert "10.0.0.7:10250" in str(refused())


def test_the_right_to_read_logs_is_named(api: Api) -> None:
    api.refuse(LOG, 403, 'User "u" cannot get resource "pods/log"')
    error = refused()
    assert error.code == Exit.FORBIDDEN
    assert "you may not get pods/log in namespace vision" in str(error)
