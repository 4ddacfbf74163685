"""Experiment tracking: against a real MLflow server, with event files and W&B runs that are read back."""

import http.server
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.trainer_datasets import make_dataset
from devcluster.programs.trainer import Attempt
from tests.faults.test_yolo_training import EPOCHS, TRAINING
from tests.faults.yolo_mlflow import PASSWORD, USER, MlflowServer
from tests.faults.yolo_results import assert_same_run, columns
from tests.faults.yolo_tracking_records import event_files, wandb_records

EXPERIMENT = "digits"
ALL = list(range(1, EPOCHS + 1))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tracking")


@pytest.fixture(scope="module")
def server(shared: Path) -> Iterator[MlflowServer]:
    running = MlflowServer(shared / "mlflow").start()
    yield running
    running.stop()


Start = Callable[..., Attempt]


@pytest.fixture(scope="module")
def start(shared: Path) -> Iterator[Start]:
    """Start an attempt at a job; its home must stay empty."""
    attempts: list[Attempt] = []
    data = make_dataset("detect", shared / "data", train=24, val=8)
    (shared / "home").mkdir()

    def begin(
        name: str,
        tracking: dict[str, Any] | None = None,
        command: str = "run",
        fields: dict[str, Any] | None = None,
        **environment: str,
    ) -> Attempt:
        job = {
            "job": {"namespace": "vision", "name": name, "uid": f"uid-{name}"},
            "model": "yolo26n.yaml",
            "dataset": {"path": str(data)},
            "training": TRAINING,
            "output": {"path": str(shared / name)},
            **({} if tracking is None else {"tracking": tracking}),
            **(fields or {}),
        }
        folders = {"TMPDIR": str(shared), "MPLCONFIGDIR": str(shared / "matplotlib"), "HOME": str(shared / "home")}
        folder = shared / f"{name}-{len(attempts)}"
        attempts.append(Attempt(folder, job, command=command, **{**folders, **environment}))
        return attempts[-1]

    yield begin
    for attempt in attempts:
        attempt.process.kill()
        attempt.process.wait()


@pytest.fixture(scope="module")
def untracked(start: Start, shared: Path) -> Path:
    attempt = start("untracked")
    assert attempt.ended()[0] == 0, attempt.log
    return shared / "untracked"


def assert_recorded(server: MlflowServer, name: str, output: Path) -> None:
    """There is one run, which has every epoch of results.csv once."""
    assert not (output / "checkpoint").exists(), "nothing is left that only an unfinished job needs"
    (run,) = [run for run in server.runs(EXPERIMENT) if run.data.tags["gpurelay.dev/job-uid"] == f"uid-{name}"]
    assert (run.info.run_name, run.info.status) == (name, "FINISHED")
    assert run.data.tags["gpurelay.dev/namespace"] == "vision"
    points = server.history(run)
    for column, values in columns(output).items():
        assert points[column.replace("(", "").replace(")", "")] == list(zip(ALL, values, strict=True)), column
    assert points["best/mAP50"][0][0] == EPOCHS
    assert run.data.params["lr0"] == "0.002"
    assert run.data.params["model"] == "yolo26n.yaml"
    assert {"weights/best.pt", "weights/last.pt", "results.csv", "args.yaml", "data.yaml"} <= server.artifacts(run)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_is_one_run_however_often_it_is_interrupted(
    start: Start, server: MlflowServer, untracked: Path, shared: Path, number: signal.Signals
) -> None:
    name = f"interrupted-{number.name.lower()}"
    tracking = {"mlflow": {"uri": server.uri, "experiment": EXPERIMENT}, "tensorBoard": True}
    first = start(name, tracking)
    first.wait_for("an epoch", lambda: f"epoch 1/{EPOCHS}" in first.log)
    first.process.send_signal(number)
    first.process.wait()
    runs = [run for run in server.runs(EXPERIMENT) if run.info.run_name == name]
    if number == signal.SIGTERM:
        assert [run.info.status for run in runs] == ["KILLED"], first.log

    second = start(name, tracking)
    code, report = second.ended()

    assert code == 0, second.log
    assert "Resuming from the checkpoint" in second.log
    assert "not recorded" not in report["message"]
    assert_recorded(server, name, shared / name)
    assert_same_run(untracked, shared / name)
    (run,) = [run for run in server.runs(EXPERIMENT) if run.info.run_name == name]
    assert report["tracking"] == {
        "MLflow": f"{server.uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    }
    curves = {
        tag: pytest.approx(values, rel=1e-6) for tag, values in columns(shared / name).items()
    }  # single precision
    assert event_files(shared / name, ALL) == curves
    assert not any((shared / "home").iterdir()), "nothing is written outside the output"


def test_a_job_that_only_validates_is_a_run_with_its_figures(
    start: Start, server: MlflowServer, untracked: Path, shared: Path
) -> None:
    fields = {"mode": "Validate", "model": str(untracked / "weights" / "best.pt")}
    attempt = start("validated", {"mlflow": {"uri": server.uri, "experiment": "validations"}}, fields=fields)

    code, report = attempt.ended()

    assert (code, report["reason"]) == (0, "Completed"), attempt.log
    (run,) = server.runs("validations")
    assert (run.info.run_name, run.info.status) == ("validated", "FINISHED")
    assert run.data.metrics["best/mAP50"] == pytest.approx(report["metrics"]["mAP50"], abs=1e-5)
    assert report["tracking"]["MLflow"].endswith(run.info.run_id)


def test_what_a_server_that_was_down_has_missed_is_sent_later(start: Start, shared: Path) -> None:
    server = MlflowServer(shared / "restarted").start()
    try:
        attempt = start("restarted-server", {"mlflow": {"uri": server.uri, "experiment": EXPERIMENT}})
        attempt.wait_for("the run", lambda: "MLflow: run " in attempt.log)
        server.stop()
        attempt.wait_for("an epoch", lambda: f"epoch 1/{EPOCHS}" in attempt.log)
        attempt.process.send_signal(signal.SIGSTOP)  # so that the training waits for the server, as it never does
        attempt.wait_for("the warning", lambda: "MLflow: not recorded, and tried again" in attempt.log)
        server.start()
        attempt.process.send_signal(signal.SIGCONT)
        code, report = attempt.ended()

        assert (code, "not recorded" in report["message"]) == (0, False), attempt.log
        assert_recorded(server, "restarted-server", shared / "restarted-server")
    finally:
        server.stop()


def test_a_run_without_its_record_file_is_found_by_its_tag(start: Start, server: MlflowServer, shared: Path) -> None:
    """The run is found by its tag where the note beside the checkpoint is lost."""
    tracking = {"mlflow": {"uri": server.uri, "experiment": EXPERIMENT}}
    first = start("lost-note", tracking)
    first.wait_for("an epoch", lambda: f"epoch 1/{EPOCHS}" in first.log and "MLflow: run " in first.log)
    first.process.kill()
    first.process.wait()
    (shared / "lost-note" / "checkpoint" / "mlflow.run").unlink()

    second = start("lost-note", tracking)
    assert second.ended()[0] == 0, second.log
    assert_recorded(server, "lost-note", shared / "lost-note")


def test_a_server_that_never_answers_costs_a_warning(start: Start, untracked: Path, shared: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        prepared = start("silent", {"mlflow": {"uri": uri}}, "prepare")
        code, report = prepared.ended()
        assert (code, report["reason"]) == (0, "Completed"), prepared.log
        assert f"the server {uri} could not be used" in prepared.log

        attempt = start("silent", {"mlflow": {"uri": uri}})
        code, report = attempt.ended()

    assert (code, report["reason"], report["epoch"]) == (0, "Completed", EPOCHS), attempt.log
    assert f"; MLflow has not recorded everything: tracking.mlflow: the server {uri} could not" in report["message"]
    assert_same_run(untracked, shared / "silent")


def test_wrong_settings_are_found_before_a_gpu_is_taken(start: Start, server: MlflowServer, shared: Path) -> None:
    guarded = MlflowServer(shared / "guarded", with_users=True).start()
    try:
        tracking = {"mlflow": {"uri": guarded.uri, "experiment": EXPERIMENT}}
        for environment in ({}, {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": "wrong"}):
            _, report = start("guarded", tracking, "prepare", **environment).ended()
            assert report["reason"] == "ConfigInvalid", report
            assert f"the server {guarded.uri} does not accept the credentials (401)" in report["message"]
            assert "in the Secret of tracking.secretName" in report["message"]
        prefix = "GPU_RELAY_TRACKING_"  # as the Secret's keys come
        known = {f"{prefix}MLFLOW_TRACKING_USERNAME": USER, f"{prefix}MLFLOW_TRACKING_PASSWORD": PASSWORD}
        code, report = start("guarded", tracking, "prepare", **known).ended()
        assert code == 0, report
    finally:
        guarded.stop()

    server.delete_experiment("abandoned")
    _, report = start("abandoned", {"mlflow": {"uri": server.uri, "experiment": "abandoned"}}, "prepare").ended()
    assert report["reason"] == "ConfigInvalid", report
    assert "experiment abandoned was deleted on the server: restore it, or name another one" in report["message"]

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{other.server_port}"
        _, report = start("elsewhere", {"mlflow": {"uri": f"{uri}/no/such"}}, "prepare").ended()
        other.shutdown()
    assert report["reason"] == "ConfigInvalid", report
    assert f"the server {uri}/no/such has no MLflow API: correct tracking.mlflow.uri" in report["message"]

    _, report = start("keyless", {"wandb": {"project": "digits"}}, "prepare").ended()
    assert report["reason"] == "ConfigInvalid", report
    assert "tracking.wandb needs WANDB_API_KEY in the environment" in report["message"]


def test_an_offline_run_of_weights_and_biases_has_each_epoch_once(
    start: Start, untracked: Path, shared: Path, tmp_path: Path
) -> None:
    tracking = {"wandb": {"project": "digits", "offline": True}}
    first = start("offline", tracking, TMPDIR=str(tmp_path))
    first.wait_for("an epoch", lambda: f"epoch 1/{EPOCHS}" in first.log)
    first.process.send_signal(signal.SIGTERM)
    assert first.ended()[0] == 143, first.log
    second = start("offline", tracking, TMPDIR=str(tmp_path))
    code, report = second.ended()

    assert (code, report["tracking"]) == (0, {"Weights & Biases": str(shared / "offline" / "wandb")}), second.log
    files = sorted((shared / "offline" / "wandb").glob("offline-run-*-uid-offline/run-uid-offline.wandb"))
    records = [record for file in files for record in wandb_records(file)]
    runs = [record.run for record in records if record.HasField("run")]
    assert {(run.run_id, run.project, run.display_name) for run in runs} == {("uid-offline", "digits", "offline")}
    rows = [
        {item.key or "/".join(item.nested_key): float(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    assert [row["epoch"] for row in rows] == ALL
    for column, values in columns(shared / "offline").items():
        assert [row[column] for row in rows] == values, column
    assert_same_run(untracked, shared / "offline")
    assert not any((shared / "home").iterdir()), "nothing is written outside the output"
    assert not list(tmp_path.glob("yolo-trainer-*")), "the scratch folders are removed"
