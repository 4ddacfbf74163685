"""Without a network: the trainer opens no connection, and a run from a volume to a volume completes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from demo.recipe import QUICK
from devcluster.paths import REPOSITORY
from devcluster.programs.trainer import Attempt

WITHOUT_NETWORK = (["unshare", "--net"], ["unshare", "--map-root-user", "--net"])
"""Start a program in a network namespace of its own, which has nothing in it: as root, and where anybody may."""

SEALED = """
from yolo_trainer.training import offline
offline.configure_environment()
offline.import_ultralytics()
from ultralytics.utils import SETTINGS, USER_CONFIG_DIR, WEIGHTS_DIR
from ultralytics.utils.checks import check_font
assert SETTINGS["sync"] is False
assert check_font("Arial.ttf").parent == USER_CONFIG_DIR, "plots find their font"
from collections import defaultdict
from ultralytics.utils.callbacks.base import add_integration_callbacks
class AnyTrainer:
    callbacks = defaultdict(list)
add_integration_callbacks(AnyTrainer())
modules = {callback.__module__.rpartition(".")[2] for each in AnyTrainer.callbacks.values() for callback in each}
assert modules <= {"events", "platform"}, f"Ultralytics itself records nothing: {modules}"
import os
from ultralytics.utils.events import events
assert not events.enabled
assert "ULTRALYTICS_API_KEY" not in os.environ, "without it the platform gets nothing"
assert SETTINGS["api_key"] == ""
from ultralytics import YOLO
try:
    YOLO(WEIGHTS_DIR / "yolo26n.pt")
except ConnectionError as error:
    # Just this type: Ultralytics' check of mixed precision on a GPU takes it for "offline" and continues.
    print(error)
"""


def test_ultralytics_downloads_nothing(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SEALED],
        env={
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TMPDIR": str(tmp_path),
            "HOME": str(tmp_path / "absent"),
            "ULTRALYTICS_API_KEY": f"ul_{'0' * 40}",
            "MLFLOW_TRACKING_URI": "http://mlflow.invalid:5000",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert "the trainer never downloads anything; not https://" in result.stdout, result.stderr
    assert "yolo26n.pt" in result.stdout


@pytest.fixture
def cut_off() -> list[str]:
    """A prefix for commands that are to have no network, seen to work."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}))"
        for prefix in WITHOUT_NETWORK:
            if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
                assert subprocess.run([sys.executable, "-c", connect]).returncode == 0
                inside = subprocess.run([*prefix, sys.executable, "-c", connect], capture_output=True, text=True)
                assert "Network is unreachable" in inside.stderr or "Connection refused" in inside.stderr
                return prefix
    pytest.skip("network namespaces cannot be made here: run as root, or allow them to users")


REPORTING = """
import socket, sys

def reporting(kind):
    def connect(self, address):
        if self.family != socket.AF_UNIX:
            print("NETWORK", address, file=sys.stderr, flush=True)
        return getattr(socket.SocketType, kind)(self, address)
    return connect

socket.socket.connect, socket.socket.connect_ex = reporting("connect"), reporting("connect_ex")
find = socket.getaddrinfo

def getaddrinfo(host, *arguments, **settings):
    print("NETWORK", host, file=sys.stderr, flush=True)
    return find(host, *arguments, **settings)

socket.getaddrinfo = getaddrinfo
"""


def test_a_training_completes_and_exports_cut_off_from_every_network(tmp_path: Path, cut_off: list[str]) -> None:
    """From a volume to a volume, with all plots and both exports, and nothing is even tried."""
    QUICK.make_images(tmp_path / "digits")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(REPORTING)
    path = os.pathsep.join(map(str, [tmp_path / "site", REPOSITORY / "images/yolo", REPOSITORY / "images/common"]))
    job = {
        "model": QUICK.model,
        "dataset": {"path": str(tmp_path / "digits")},
        "training": {**QUICK.training, "args": {**QUICK.training["args"], "plots": True}},
        "output": {"path": str(tmp_path / "output"), "export": ["torchscript", "onnx"]},
    }

    home = tmp_path / "absent"
    attempt = Attempt(tmp_path / "attempt", job, prefix=cut_off, PYTHONPATH=path, HOME=str(home), TMPDIR=str(tmp_path))
    code, report = attempt.ended()

    assert (code, report["reason"]) == (0, "Completed"), attempt.log
    assert not home.exists(), "onnxruntime, for one, keeps an identifier and its telemetry there"
    assert report["message"].startswith("3 of 3 epochs, mAP50 0.")
    assert (report["epoch"], report["epochs"]) == (3, 3)
    assert report["metrics"].keys() == {"mAP50", "mAP50_95"}
    output = tmp_path / "output"
    assert report["weights"] == {name: str(output / "weights" / f"{name}.pt") for name in ("best", "last")}
    assert report["exports"] == {name: str(output / "weights" / f"best.{name}") for name in ("torchscript", "onnx")}
    for file in [
        *report["weights"].values(),
        *report["exports"].values(),
        output / "results.png",
        output / "args.yaml",
    ]:
        assert Path(file).stat().st_size > 0
    assert [line.split(",")[0] for line in (output / "results.csv").read_text().splitlines()[1:]] == ["1", "2", "3"]
    assert "NETWORK" not in attempt.log
    assert attempt.log.count("epoch ") == 3, "one line for each epoch"
    assert not list(tmp_path.glob("yolo-trainer-*")), "the scratch folder is removed"
