"""The trainer as a process: real training runs that complete, are interrupted, killed or refused.

Every run trains from scratch on the CPU with a few small images; an attempt takes some 10 s, most of it to
import libraries.
"""

import json
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import gpu_memory
from demo.recipe import QUICK
from devcluster.programs.trainer import Attempt


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images, and a font cache that every attempt would otherwise build for itself."""
    folder = tmp_path_factory.mktemp("trainer")
    QUICK.make_images(folder / "digits")
    return folder


@pytest.fixture
def start(shared: Path, tmp_path: Path) -> Iterator[Callable[..., Attempt]]:
    """Start attempts, and leave none behind."""
    attempts: list[Attempt] = []

    def begin(job: dict[str, Any], *options: str, command: str = "run", **environment: str) -> Attempt:
        settings = {"MPLCONFIGDIR": str(shared / "matplotlib"), "TMPDIR": str(tmp_path), **environment}
        attempts.append(Attempt(tmp_path / f"attempt-{len(attempts)}", job, *options, command=command, **settings))
        return attempts[-1]

    yield begin
    for attempt in attempts:
        attempt.process.kill()
        attempt.process.wait()


@pytest.fixture
def job(shared: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "job": {"namespace": "vision", "name": "digits", "uid": "uid-1"},
        "attempt": 1,
        "model": QUICK.model,
        "task": "detect",
        "dataset": {"path": str(shared / "digits")},
        "training": {**QUICK.training, "args": {**QUICK.training["args"]}},
        "output": {"path": str(tmp_path / "output"), "export": []},
        "gpu": {"uuid": None, "memoryMiB": 1024},
        "hold": None,
    }


def test_sigterm_before_the_training_is_an_interruption_too(start: Callable[..., Attempt], job: dict[str, Any]) -> None:
    attempt = start(job)
    attempt.wait_for("the start", lambda: "Progress is served" in attempt.log)
    attempt.process.send_signal(signal.SIGTERM)
    code, report = attempt.ended()

    assert code == 143
    assert report["message"] == "asked to end; no epoch was finished in this attempt"


@pytest.fixture
def ledger(tmp_path: Path) -> dict[str, str]:
    """A simulated T4, of which another process holds 14,000 MiB; the environment that shows it."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler for the simulated driver library")
    folder = tmp_path / "gpu"
    gpu_memory.create_ledger(folder, uuid="GPU-11111111-2222-3333-4444-555555555555")
    return {"GPU_RELAY_SIMULATED_GPU": str(folder), "LD_LIBRARY_PATH": str(folder / "lib")}


def test_a_gpu_with_too_little_memory_is_left_alone(
    start: Callable[..., Attempt], job: dict[str, Any], ledger: dict[str, str], tmp_path: Path
) -> None:
    job["gpu"] = {"uuid": "GPU-11111111-2222-3333-4444-555555555555", "memoryMiB": 10240}
    with gpu_memory.Ledger(ledger["GPU_RELAY_SIMULATED_GPU"]).book(14000):
        code, report = start(job, **ledger).ended()
        assert (code, report["reason"]) == (10, "GpuMemoryUnavailable")
        assert "910 of 15360 MiB are free" in report["message"]
        assert "needs 10240 MiB, 9330 MiB more" in report["message"]
        assert report["peakMemoryMiB"] == 0

        code, report = start(job, "--no-preflight", **ledger).ended()
        assert (code, report["reason"]) == (12, "OutOfMemory")
        assert "10240 MiB were granted" in report["message"]
        assert "910 of 15360 MiB are free" in report["message"]
        record = json.loads((tmp_path / "output" / "checkpoint" / "out-of-memory.json").read_text())
        assert record["batch"] == QUICK.training["batch"], "the next attempt takes half"

    job["gpu"]["uuid"] = "GPU-another"
    code, report = start(job, **ledger).ended()
    assert (code, report["reason"]) == (11, "WrongGpu")


@pytest.fixture
def resident() -> Iterator[tuple[str, list[Any]]]:
    """A resident that accepts every renewal: its URL, and the bodies that it was sent."""
    bodies: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", bodies
        server.shutdown()


def test_memory_and_hold_are_kept_while_training(
    start: Callable[..., Attempt], job: dict[str, Any], ledger: dict[str, str], resident: tuple[str, list[Any]]
) -> None:
    url, renewals = resident
    job["gpu"] = {"uuid": "GPU-11111111-2222-3333-4444-555555555555", "memoryMiB": 10240}
    job["hold"] = {"url": url, "fence": 7, "renewKey": "key", "ttlSeconds": 3}
    job["training"]["epochs"] = 1
    attempt = start(job, **ledger)
    attempt.wait_for("training", lambda: "Training " in attempt.log)
    held = gpu_memory.Ledger(ledger["GPU_RELAY_SIMULATED_GPU"]).used_mib
    progress = attempt.progress()
    code, report = attempt.ended()

    assert code == 0, attempt.log
    assert held == 10240
    assert progress["gpu_memory_mib"] == 10240
    assert report["peakMemoryMiB"] == 10240
    assert gpu_memory.Ledger(ledger["GPU_RELAY_SIMULATED_GPU"]).used_mib == 0
    assert len(renewals) >= 2, "at once, and then every second"
    assert all(body == {"fence": 7, "renew_key": "key"} for body in renewals)


def test_a_broken_data_set_is_refused_before_ultralytics_is_loaded(
    start: Callable[..., Attempt], job: dict[str, Any], shared: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(shared / "digits", broken)
    (broken / "labels" / "train" / "0003.txt").write_text("11 0.5 0.5 0.2 0.2\n")
    job["dataset"]["path"] = str(broken)

    code, report = start(job).ended()

    assert (code, report["reason"]) == (13, "DatasetInvalid")
    assert "labels/train/0003.txt: line 1: class 11 is not in names, which go from 0 to 9" in report["message"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda job: job["training"]["args"].update(mosiac=0.0), "did you mean 'mosaic'?"),
        (lambda job: job["training"]["args"].update(device="0"), "the operator chooses the GPU"),
        (lambda job: job["training"]["args"].update(lr0="high"), "'lr0=high' is of invalid type str"),
        (lambda job: job.update(model="yolo26n.pt"), "(https://github.com/ultralytics/assets/releases/download/"),
        (lambda job: job["output"].update(export=["coreml"]), "output.export coreml is not supported"),
        (lambda job: job["output"].update(path=job["dataset"]["path"]), "give the results another one"),
        (lambda job: job["output"].update(path="/proc/output"), "cannot be written"),
    ],
)
def test_a_wrong_job_is_refused_with_what_to_change(
    start: Callable[..., Attempt], job: dict[str, Any], change: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    change(job)

    code, report = start(job).ended()

    assert (code, report["reason"]) == (14, "ConfigInvalid"), report
    assert sentence in report["message"]
