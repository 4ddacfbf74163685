"""Views as data, times for people, and what is lost with a job."""

import json
from datetime import timedelta

import pytest
import yaml

from gpu_relay.overview.gpus import gpus_of
from gpu_relay.overview.snapshot import ClusterSnapshot
from kubectl_relay.show.data import dumped
from kubectl_relay.views.losses import losses
from kubectl_relay.views.text import visible
from kubectl_relay.views.times import clock, span
from tests.unit.kubectl_relay.relay_world import GPU, NOW, ago, job, lease, training


def test_json_and_yaml_say_the_same_in_camel_case_and_utc() -> None:
    gpus = gpus_of(
        ClusterSnapshot(NOW, (training(),), leases={GPU: lease(training(), out_since="2026-01-01T11:30:00Z")})
    )
    (read,) = json.loads(dumped(gpus, "json"))
    assert read == yaml.safe_load(dumped(gpus, "yaml"))[0]
    assert read["resident"]["outSince"] == "2026-01-01T11:30:00Z"
    assert read["owner"]["job"] == {"namespace": "vision", "name": "digits", "uid": "uid-digits"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0, "0s"), (59.9, "59s"), (60, "1m 00s"), (3599, "59m 59s"), (3600, "1h 00m"), (90000, "1d 1h")],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert span(timedelta(seconds=seconds)) == text


def test_moments_have_a_date_on_other_days_only() -> None:
    assert clock(ago(hours=1), NOW) == "11:00:00"
    assert clock(ago(days=1), NOW) == "2025-12-31 12:00:00"


def test_messages_do_not_steer_a_terminal() -> None:
    assert visible("a\x1b[2Jb\x9bc\rd\te\n") == "a\ufffd[2Jb\ufffdc\ufffdd\te\n"
    assert visible("exe.\u202egnp") == "exe.\ufffdgnp"
    assert visible("äöü 漢 👩\u200d💻") == "äöü 漢 👩\u200d💻"


def test_what_is_lost_with_a_job() -> None:
    assert list(losses(training())) == [
        "vision/digits trains: it is stopped after 12/100 epochs.",
        "What it has written stays on PVC results; a new job begins from the start. `suspend` stops it until `resume`.",
    ]
    (done,) = losses(job(phase="Succeeded"))
    assert done == "vision/digits has succeeded: the job record is deleted; its results stay on PVC results."
