import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from yolo_trainer.checkpoints import CheckpointStore


@pytest.fixture
def weights(tmp_path: Path) -> Callable[[str], Path]:
    """Make a weight file as Ultralytics leaves it."""

    def make(content: str) -> Path:
        file = tmp_path / "made" / f"{content}.pt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
        return file

    return make


def test_nothing_is_found_before_the_first_save(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path, "u1").find() is None


def test_the_same_job_finds_its_checkpoint(tmp_path: Path, weights: Callable[[str], Path]) -> None:
    CheckpointStore(tmp_path, "u1").save(weights("one"), None)
    CheckpointStore(tmp_path, "u1").save(weights("two"), None)

    found = CheckpointStore(tmp_path, "u1").find()

    assert found == tmp_path / "checkpoint" / "resume.pt"
    assert found.read_text() == "two"


def test_another_job_does_not(tmp_path: Path, weights: Callable[[str], Path]) -> None:
    CheckpointStore(tmp_path, "u1").save(weights("one"), None)

    assert CheckpointStore(tmp_path, "u2").find() is None
    assert CheckpointStore(tmp_path, "u1").find() is not None, "looking must not take it away"


def test_another_jobs_checkpoint_is_replaced_whole(tmp_path: Path, weights: Callable[[str], Path]) -> None:
    CheckpointStore(tmp_path, "u1").save(weights("one"), weights("best of one"))
    CheckpointStore(tmp_path, "u2").save(weights("two"), None)

    store = CheckpointStore(tmp_path, "u2")
    store.restore(1)

    assert CheckpointStore(tmp_path, "u1").find() is None
    assert (tmp_path / "weights" / "last.pt").read_text() == "two"
    assert not (tmp_path / "weights" / "best.pt").exists(), "the other job's best weights are not ours"


def test_a_kill_before_another_jobs_owner_is_written_leaves_no_checkpoint(
    tmp_path: Path, weights: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    CheckpointStore(tmp_path, "u1").save(weights("one"), None)
    store = CheckpointStore(tmp_path, "u2")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("yolo_trainer.checkpoints._write_whole", killed)
    with pytest.raises(KeyboardInterrupt):
        store.save(weights("two"), None)

    assert CheckpointStore(tmp_path, "u1").find() is None, "resume.pt is the other job's by now"
    assert CheckpointStore(tmp_path, "u2").find() is None


def test_a_full_disk_leaves_the_previous_checkpoint(
    tmp_path: Path, weights: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CheckpointStore(tmp_path, "u1")
    store.save(weights("one"), None)

    def full(_source: Path, target: Path) -> None:
        target.write_text("ha")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("yolo_trainer.checkpoints.shutil.copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        store.save(weights("two"), None)

    found = store.find()
    assert found is not None
    assert found.read_text() == "one"


def test_restoring_undoes_what_came_after_the_checkpoint(tmp_path: Path, weights: Callable[[str], Path]) -> None:
    store = CheckpointStore(tmp_path, "u1")
    store.save(weights("epoch 2"), weights("best is 1"))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "last.pt").write_text("half of epo")
    (tmp_path / "weights" / "best.pt").write_text("half of epo")
    (tmp_path / "results.csv").write_text("epoch,time\n1,10\n2,20\n3,30\n3,")

    store.restore(2)

    assert (tmp_path / "weights" / "last.pt").read_text() == "epoch 2"
    assert (tmp_path / "weights" / "best.pt").read_text() == "best is 1"
    assert (tmp_path / "results.csv").read_text() == "epoch,time\n1,10\n2,20\n"


def test_a_discarded_checkpoint_is_not_found(tmp_path: Path, weights: Callable[[str], Path]) -> None:
    store = CheckpointStore(tmp_path, "u1")
    store.save(weights("one"), None)

    store.discard()

    assert store.find() is None
    assert CheckpointStore(tmp_path, "u1").find() is None


@pytest.mark.parametrize("owner", ["", "{", "[]", "{}"])
def test_a_damaged_owner_file_means_no_checkpoint(tmp_path: Path, weights: Callable[[str], Path], owner: str) -> None:
    CheckpointStore(tmp_path, "u1").save(weights("one"), None)
    (tmp_path / "checkpoint" / "job.json").write_text(owner)

    assert CheckpointStore(tmp_path, "u1").find() is None


SAVES_FOR_EVER = """
import hashlib, os, sys
from pathlib import Path
from yolo_trainer.checkpoints import CheckpointStore
output = Path(sys.argv[1])
store, last = CheckpointStore(output, "u1"), output / "last.pt"
while True:
    content = os.urandom(2_000_000)
    last.write_bytes(hashlib.sha256(content).digest() + content)
    store.save(last, None)
"""


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVES_FOR_EVER, str(tmp_path)], env={"PYTHONPATH": os.pathsep.join(sys.path)}
        )
        while CheckpointStore(tmp_path, "u1").find() is None:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()

        found = CheckpointStore(tmp_path, "u1").find()
        assert found is not None
        content = found.read_bytes()
        assert content[:32] == hashlib.sha256(content[32:]).digest()
