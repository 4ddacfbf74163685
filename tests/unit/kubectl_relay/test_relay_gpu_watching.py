"""`gpus --watch`: what is printed after which change, and which failures end it."""

import io
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from rich.console import Console
from rich.live import Live

from gpu_relay.domain.objects.job import Job
from gpu_relay.overview.snapshot import ClusterSnapshot
from kubectl_relay import gpu_watching
from kubectl_relay.exits import Exit, RelayError
from kubectl_relay.show.gpus import GpuScreen
from tests.unit.kubectl_relay.relay_api import Api, api_in_use, invoke, raw
from tests.unit.kubectl_relay.relay_world import NOW, training

JOBS = "/apis/gpurelay.dev/v1alpha1/namespaces/vision/yolotrainingjobs"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/gpu-relay/leases"
PODS = "/api/v1/pods"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """An API server with no Lease and no resident, whose jobs each test scripts."""
    monkeypatch.setattr(gpu_watching, "_PAUSE", 0.0)
    with api_in_use(tmp_path, monkeypatch) as api:
        for path in (LEASES, PODS):
            api.answer(path, {"metadata": {}, "items": []})
        yield api


def has(api: Api, *jobs: Job) -> None:
    api.answer(JOBS, {"metadata": {}, "items": [raw(job) for job in jobs]})


def ends(api: Api) -> None:
    """End the command: no retry helps against credentials that are not accepted."""
    api.refuse(JOBS, 401, "Unauthorized")


def run(*arguments: str) -> Result:
    return invoke("gpus", "-n", "vision", *arguments)


def test_a_pipe_gets_the_gpus_again_after_each_change_and_not_before(api: Api) -> None:
    for jobs in ([], [], [training()], [training()], []):
        has(api, *jobs)
    ends(api)
    done = run("--watch")
    assert isinstance(done.exception, RelayError)
    assert done.exception.code == Exit.FORBIDDEN
    assert done.stdout.count("No GPU is known yet") == 2
    assert done.stdout.count("● gpu-1  Tesla T4  on node-1") == 1
    assert len([path for path in api.asked if path.startswith(JOBS)]) == 6


def test_programs_get_a_document_after_each_change(api: Api) -> None:
    for jobs in ([], [training()], [training()]):
        has(api, *jobs)
    ends(api)
    lines = run("-w", "-o", "json").stdout.splitlines()
    assert [len(json.loads(line)["gpus"]) for line in lines] == [0, 1]
    api.answers[JOBS] = []
    for jobs in ([], [training()]):
        has(api, *jobs)
    ends(api)
    documents = list(yaml.safe_load_all(run("-w", "-o", "yaml").stdout))
    assert [len(each["gpus"]) for each in documents] == [0, 1]


def test_a_server_in_trouble_is_asked_again(api: Api) -> None:
    has(api)
    for _ in range(9):
        api.refuse(JOBS, 503, "the server is currently unable to handle the request")
    has(api, training())
    ends(api)
    done = run("-w")
    assert done.stdout.count("● gpu-1") == 1
    assert done.stderr.count("unable to handle the request (503); trying again") == 1


def test_a_server_that_stays_in_trouble_ends_it(api: Api) -> None:
    api.refuse(JOBS, 503, "the server is currently unable to handle the request")
    error = run("-w").exception
    assert isinstance(error, RelayError)
    assert "(503)" in str(error)
    assert len(api.asked) == 10


def test_what_was_hidden_once_may_be_shown_later(api: Api) -> None:
    """A right that is granted meanwhile: the next look says nothing of it."""
    api.answers[LEASES] = []
    for _ in range(2):
        has(api)
    ends(api)
    api.refuse(LEASES, 403, 'User "u" cannot list resource "leases"')
    api.answer(LEASES, {"metadata": {}, "items": []})
    both = [json.loads(line)["unknown"] for line in run("-w", "-o", "json").stdout.splitlines()]
    assert [len(each) for each in both] == [1, 0]


def test_a_terminal_shows_times_that_advance_between_changes() -> None:
    moments = iter(NOW + timedelta(seconds=seconds) for seconds in range(60))
    screen = GpuScreen(ClusterSnapshot(NOW, (training(),)), lambda: next(moments))
    file = io.StringIO()
    console = Console(file=file, width=120, force_terminal=True, color_system=None)
    with Live(screen, console=console, auto_refresh=False) as live:
        live.refresh()
    assert "vision/digits for 4m 00s" in file.getvalue()
    assert "vision/digits for 4m 01s" in file.getvalue()
