"""What may happen to a job, with pods that really run: stopped through checkpoints, refused, served beside SAM3."""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import make_archive

import pytest

from demo.recipe import QUICK
from demo.relay import MODEL_MIB, Relay
from devcluster import NodeKind, host
from devcluster.waiting import eventually

EPOCHS = 6
LONG = 30
"""Epochs that last longer than the preparation of another job."""


@pytest.fixture(autouse=True)
def loaded(relay: Relay, photograph: Path) -> None:
    relay.load_sam3(photograph)


def epochs_done(relay: Relay, name: str) -> int:
    return int(relay.job(name)["status"].get("progress", {}).get("epoch", 0))


def trains_an_epoch(relay: Relay, name: str) -> None:
    relay.trains(name)
    eventually(lambda: epochs_done(relay, name) >= 1, f"{name} to finish an epoch", within=90)


def has_all_epochs(relay: Relay, name: str, epochs: int = EPOCHS) -> bool:
    rows = (relay.volumes.results / name / "results.csv").read_text().splitlines()[1:]
    return [int(row.split(",")[0]) for row in rows] == list(range(1, epochs + 1))


def test_suspended_at_a_checkpoint_and_resumed_from_it(relay: Relay) -> None:
    with relay.watched():
        relay.apply("pausing", epochs=EPOCHS)
        trains_an_epoch(relay, "pausing")
        relay.patch("pausing", suspend=True)
        relay.reaches("pausing", "Suspended")
        relay.is_back()
        relay.patch("pausing", suspend=False)
        relay.reaches("pausing", "Succeeded", "Failed")
    first, second = relay.job("pausing")["status"]["attempts"]
    assert (first["reason"], second["reason"]) == ("Suspended", "Completed")
    assert 1 <= first["epoch"] < EPOCHS
    assert has_all_epochs(relay, "pausing")
    relay.is_back()


def test_preempted_at_a_checkpoint_by_a_job_of_higher_priority(relay: Relay) -> None:
    with relay.watched():
        relay.apply("patient", epochs=LONG, preemptible=True)
        trains_an_epoch(relay, "patient")
        relay.apply("urgent", priority=10)
        for name in ("urgent", "patient"):
            relay.reaches(name, "Succeeded", "Failed", within=240)
    reasons = [attempt["reason"] for attempt in relay.job("patient")["status"]["attempts"]]
    assert reasons == ["Preempted", "Completed"]
    assert has_all_epochs(relay, "patient", LONG)
    urgent = relay.job("urgent")["status"]["attempts"][0]
    assert urgent["completionTime"] <= relay.job("patient")["status"]["attempts"][1]["startTime"]
    relay.is_back()


def test_a_deadline_ends_a_training_through_its_checkpoint(relay: Relay) -> None:
    with relay.watched():
        relay.apply("endless", epochs=10_000)
        trains_an_epoch(relay, "endless")
        relay.patch("endless", activeDeadlineSeconds=1)
        relay.reaches("endless", "Failed")
    attempt = relay.job("endless")["status"]["attempts"][0]
    assert (attempt["reason"], attempt["epoch"] >= 1) == ("DeadlineExceeded", True)
    assert (relay.volumes.results / "endless" / "checkpoint").is_dir()
    relay.is_back()


def test_what_cannot_be_trained_on_never_costs_sam3_anything(relay: Relay) -> None:
    """A label that names a class that is not there, and a container without enough memory: both end before the GPU."""
    QUICK.make_images(relay.volumes.data / "broken")
    label = sorted((relay.volumes.data / "broken" / "labels" / "train").iterdir())[0]
    label.write_text("99 0.5 0.5 0.1 0.1\n")
    claim = {"persistentVolumeClaim": {"claimName": "data"}}
    with relay.watched() as seen:
        relay.apply("broken", dataset={**claim, "path": "broken"})
        relay.apply("cramped", backoffLimit=0, podTemplate={"resources": {"limits": {"memory": "100Mi"}}})
        for name in ("broken", "cramped"):
            relay.reaches(name, "Failed")
    assert seen.least_used == MODEL_MIB, "SAM3 was unloaded for a job that could not train"
    status = relay.job("broken")["status"]
    assert status["preparation"]["reason"] == "DatasetInvalid"
    assert label.name in status["preparation"]["message"]
    if relay.node is NodeKind.KUBELET:  # processes have no limits of their own
        assert relay.job("cramped")["status"]["preparation"]["reason"] == "OOMKilled"


def test_a_small_training_beside_the_loaded_sam3(relay: Relay, photograph: Path) -> None:
    relay.apply("beside", gpu={"memory": "400Mi", "sharing": "Coresident"})
    relay.reaches("beside", "Training", "Succeeded", "Failed")
    eventually(lambda: relay.used_mib() == MODEL_MIB + 400, "the training beside SAM3", within=90)
    relay.load_sam3(photograph)  # answers while it trains
    relay.reaches("beside", "Succeeded", "Failed")
    assert relay.phase("beside") == "Succeeded"
    assert relay.job("beside")["status"]["gpu"]["freeBefore"] == 910
    relay.is_back()


def test_bytes_travel_while_sam3_serves(relay: Relay, tmp_path: Path) -> None:
    """Data behind a URI is at hand before SAM3 is asked to unload."""
    archive = make_archive(str(tmp_path / "digits"), "zip", relay.volumes.data / "digits")
    with served(tmp_path, relay.node) as (address, requests), relay.watched():
        relay.apply("fetched", dataset={"uri": f"{address}/{Path(archive).name}"})
        relay.reaches("fetched", "Queued", "Acquiring", "Training")
        eventually(lambda: relay.job("fetched")["status"]["preparation"].get("reason"), "the preparation to end")
        relay.reaches("fetched", "Succeeded", "Failed")
    status = relay.job("fetched")["status"]
    assert status["phase"] == "Succeeded", status
    assert status["preparation"]["bytes"] == Path(archive).stat().st_size
    assert requests.count("GET") == 1, "the training fetched again what was prepared"
    assert status["preparation"]["completionTime"] <= status["startTime"]
    relay.is_back()


@contextmanager
def served(folder: Path, node: NodeKind) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder where pods can reach it; yield its address and the methods of all requests."""
    methods: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_: object) -> None:
            methods.append(str(self.command))

    address = host.GATEWAY if node is NodeKind.KUBELET else "127.0.0.1"
    server = ThreadingHTTPServer((address, 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{address}:{server.server_address[1]}", methods
    finally:
        server.shutdown()
        server.server_close()
