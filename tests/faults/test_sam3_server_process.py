"""The SAM3 server as a process, with real worker processes, a real (tiny) model and the simulated GPU.

One server lives through the tests in their order; each test leaves it unheld. Imports of PyTorch take some 10 s each.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

import gpu_memory
from devcluster.programs.sam3 import LOAD_SECONDS, NEED, PNG, PYTHONPATH, TEXT, TOKEN, Server, runs, tiny_model
from devcluster.waiting import eventually
from gpu_memory import Ledger

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:pycocotools")


@pytest.fixture(scope="module")
def model() -> Path:
    return tiny_model()


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return gpu_memory.create_ledger(tmp_path_factory.mktemp("gpu"))


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(TOKEN)
    return path


@pytest.fixture(scope="module")
def server(ledger: Ledger, model: Path, token_file: Path) -> Iterator[Server]:
    server = Server(ledger, model, token_file)
    yield server
    server.end()


def test_concurrent_first_requests_load_once_and_find_masks(server: Server) -> None:
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda _: server.segment(), range(3)))
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert server.ledger.used_mib == NEED
    body = answers[0].json()
    assert (body["width"], body["height"]) == (90, 60)
    assert [result["prompt"] for result in body["results"]] == ["cat", "red dog"]
    for detection in body["results"][0]["detections"]:
        assert coco.decode(detection["mask"]).shape == (60, 90)
    assert body["results"][0]["detections"]
    assert all(answer.json()["results"] == body["results"] for answer in answers)


def test_every_form_comes_from_the_real_model(server: Server) -> None:
    exemplars = [{"box": [10, 10, 50, 40]}, {"box": [60, 5, 80, 20], "positive": False}]
    prompts = ["cat", {"text": "dog", "exemplars": exemplars, "class_id": 5}, {"exemplars": exemplars[:1]}]
    body = {"image": TEXT, "prompts": prompts, "threshold": 0}
    masks = server.client.post("/api/v1/segment", json=body).json()
    assert [result["prompt"] for result in masks["results"]] == ["cat", "dog", "visual"]
    shaped = server.client.post("/api/v1/segment", json=body | {"format": "polygon", "yolo_labels": "polygon"}).json()
    for result, with_masks in zip(shaped["results"], masks["results"], strict=True):
        assert len(result["detections"]) == len(with_masks["detections"]) == 5
        for detection, with_mask in zip(result["detections"], with_masks["detections"], strict=True):
            assert (detection["box"], detection["score"]) == (with_mask["box"], with_mask["score"])
            outlined = coco.decode(coco.merge(coco.frPyObjects(detection["polygons"], 60, 90)))
            assert np.array_equal(outlined, coco.decode(with_mask["mask"]))
    classes = {line.split()[0] for line in shaped["yolo_labels"].splitlines()}
    assert classes == {"0", "5", "2"}
    boxes = server.client.post("/api/v1/segment", json=body | {"format": "box", "max_instances": 2}).json()
    assert [(len(each["detections"]), each["omitted"]) for each in boxes["results"]] == [(2, 3)] * 3
    assert server.metric("sam3_known_images_total") >= 2, "the same image's features are computed once"
    assert masks["results"][1]["detections"] != masks["results"][0]["detections"], "exemplars make a difference"


def test_a_long_prompt_is_refused_by_the_worker_which_keeps_running(server: Server) -> None:
    files = {"image": ("a.png", PNG)}
    refused = server.client.post("/api/v1/segment", files=files, data={"prompt": "x" * 40})
    assert refused.status_code == 422
    assert "42 tokens, 32 are allowed" in refused.json()["detail"]
    assert server.segment().status_code == 200


def test_a_turn_frees_the_ledger_and_the_standby_takes_it_back(server: Server) -> None:
    answer = server.unload(fence=3, ttl_seconds=600).json()
    assert (answer["gpu_freed_mb"], answer["gpu_free_mb"]) == (NEED, server.ledger.free_mib)
    assert server.ledger.used_mib == 0
    assert server.segment().status_code == 503
    assert server.unload(fence=2).status_code == 409
    assert server.client.post("/api/v1/hold/renew", json={"fence": 3, "renew_key": "key"}).status_code == 200
    standby = eventually(server.workers, "a standby worker")
    with server.ledger.book(NEED):
        assert server.ledger.used_mib == NEED, "the standby must hold no GPU memory"
    loaded = server.load(fence=3)
    assert loaded.status_code == 200
    assert server.workers() == standby
    assert server.ledger.used_mib == NEED
    assert server.segment().status_code == 200


def test_the_server_outlives_its_worker_and_loads_again(server: Server) -> None:
    (worker,) = server.workers()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not server.health()["model_loaded"], "the death is noticed", within=5)
    assert "signal 9" in server.health()["error"]
    assert server.ledger.used_mib == 0
    assert server.segment().status_code == 200
    assert server.health()["error"] is None


def test_after_a_hold_the_server_waits_for_memory_and_loads(server: Server) -> None:
    server.unload(fence=4, ttl_seconds=1)
    with server.ledger.book(8000):
        error = eventually(lambda: server.health()["error"], "the hold expires and nothing is loaded")
        assert f"{NEED} MiB" in error
        assert server.health()["hold"] is None
        assert server.ledger.used_mib == 8000
    eventually(lambda: server.health()["model_loaded"], "the server loads by itself", within=LOAD_SECONDS)
    assert server.ledger.used_mib == NEED


def test_a_worker_outlives_its_zygote(server: Server) -> None:
    workers, (zygote,) = server.workers(), server.zygotes()
    os.kill(zygote, signal.SIGKILL)
    eventually(lambda: server.zygotes() not in ([], [zygote]), "another zygote", within=5, every=0.02)
    assert server.segment().status_code == 200
    assert server.workers() == workers
    assert server.zombies() == []


def test_a_killed_server_leaves_no_memory_booked(server: Server) -> None:
    workers, templates = server.workers(), server.zygotes()
    assert (len(workers), len(templates)) == (1, 1)
    server.process.kill()
    server.process.wait()
    eventually(lambda: server.ledger.used_mib == 0, "the worker died with its server", within=5, every=0.02)
    eventually(lambda: not any(map(runs, workers + templates)), "no orphan is left", within=5)


def test_a_server_restarted_during_training_does_not_load(ledger: Ledger, model: Path, token_file: Path) -> None:
    server = Server(ledger, model, token_file)
    try:
        with ledger.book(8000):
            refused = server.segment()
            assert refused.status_code == 503
            assert f"needs {NEED} MiB" in refused.json()["detail"]
            assert server.workers() == []
        server.process.terminate()
        assert server.process.wait(timeout=20) == 0
    finally:
        server.end()


def test_a_server_restarted_before_training_keeps_the_hold(
    ledger: Ledger, model: Path, token_file: Path, tmp_path: Path
) -> None:
    settings = {"SAM3_HOLD_FILE": str(tmp_path / "hold.json"), "SAM3_STANDBY": "false"}
    first = Server(ledger, model, token_file, settings)
    first.unload(fence=8, ttl_seconds=600)
    first.process.kill()
    first.end()
    second = Server(ledger, model, token_file, settings)
    try:
        assert second.health()["hold"]["fence"] == 8
        assert second.segment().status_code == 503
        assert second.unload(fence=7).status_code == 409
        assert second.client.post("/api/v1/hold/renew", json={"fence": 8, "renew_key": "key"}).status_code == 200
        assert (second.workers(), ledger.used_mib) == ([], 0)
    finally:
        second.end()


def test_a_preloading_server_is_ready_with_the_model(ledger: Ledger, model: Path, token_file: Path) -> None:
    with ledger.book(8000):
        server = Server(ledger, model, token_file, {"SAM3_PRELOAD": "true", "SAM3_READY_WHEN": "loaded"})
        try:
            eventually(lambda: server.health()["error"], "it looks for memory, and finds too little", within=30)
            assert server.client.get("/ready").status_code == 503
            assert ledger.used_mib == 8000
        except BaseException:
            server.end()
            raise
    try:
        eventually(lambda: server.client.get("/ready").is_success, "the model is loaded", within=LOAD_SECONDS)
        assert (ledger.used_mib, server.metric("sam3_load_seconds_count")) == (NEED, 1)
        (worker,) = server.workers()
        assert server.segment().status_code == 200
        assert (server.workers(), server.metric("sam3_load_seconds_count")) == ([worker], 1)
    finally:
        server.end()


@pytest.mark.parametrize("standby", ["true", "false"], ids=["zygote", "worker"])
def test_a_process_busy_with_imports_dies_with_the_server(
    ledger: Ledger, model: Path, token_file: Path, standby: str
) -> None:
    server = Server(ledger, model, token_file, {"SAM3_STANDBY": standby})
    try:
        with ThreadPoolExecutor() as pool:
            pool.submit(server.segment)  # begins the imports of a worker that is not forked
            importing = server.zygotes if standby == "true" else server.workers
            (busy,) = eventually(importing, "imports begin", every=0.02)
            maps = Path(f"/proc/{busy}/maps")
            eventually(lambda: "libtorch" in maps.read_text(), "PyTorch is imported", every=0.02)
            server.process.kill()
            server.process.wait()
        eventually(lambda: not runs(busy), "no orphan is left", within=5, every=0.02)
    finally:
        server.end()


def test_a_server_without_configuration_names_what_to_set() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SAM3_")}
    environment["PYTHONPATH"] = PYTHONPATH
    ended = subprocess.run(
        [sys.executable, "-m", "sam3_server"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("sam3-server: SAM3_MODEL is not set")
