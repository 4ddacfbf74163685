import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from yolo_trainer.training.checkpoint_store import CheckpointStore


@pytest.fixture
def weights(tmp_path: Path) -> Callable[[str], Path]:
    """Make a weight file as Ultralytics leaves it."""

    def make(content: str) -> Path:
        file = tmp_path / "made" / f"{content}.pt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
        return file

    return make


def opened(folder: Path, uid: str) -> CheckpointStore:
    return CheckpointStore(folder / "checkpoint", folder, uid)


def written(content: str) -> Callable[[Path], object]:
    """Write a checkpoint, as the training does."""
    return lambda target: target.write_text(content)


def content(file: Path | None) -> bytes | None:
    """Return what was saved in a checkpoint's file, which ends in its checksum."""
    return None if file is None else file.read_bytes().rpartition(b"\nsha256:")[0]


def test_nothing_is_found_before_the_first_save(tmp_path: Path) -> None:
    assert opened(tmp_path, "u1").find() is None


def test_the_same_job_finds_its_checkpoint(tmp_path: Path, weights: Callable[[str], Path]) -> None:
    opened(tmp_path, "u1").save(written("one"), None)
    opened(tmp_path, "u1").save(written("two"), None)

    found = opened(tmp_path, "u1").find()

    assert found == tmp_path / "checkpoint" / "resume.pt"
    assert content(found) == b"two"


def test_another_job_does_not(tmp_path: Path, weights: Callable[[str], Path]) -> None:
    opened(tmp_path, "u1").save(written("one"), None)

    assert opened(tmp_path, "u2").find() is None
    assert opened(tmp_path, "u1").find() is not None, "looking must not take it away"


def test_another_jobs_checkpoint_is_replaced_whole(tmp_path: Path, weights: Callable[[str], Path]) -> None:
    opened(tmp_path, "u1").save(written("one"), weights("best of one"))
    opened(tmp_path, "u2").save(written("two"), None)

    store = opened(tmp_path, "u2")
    assert not store.restore(1, b"two's last")

    assert opened(tmp_path, "u1").find() is None
    assert (tmp_path / "weights" / "last.pt").read_text() == "two's last"
    assert not (tmp_path / "weights" / "best.pt").exists(), "the other job's best weights are not ours"


def test_a_kill_before_the_owner_is_written_leaves_no_checkpoint(
    tmp_path: Path, weights: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tmp_path, "u1").save(written("one"), None)
    store = opened(tmp_path, "u2")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("yolo_trainer.training.checkpoint_store.write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        store.save(written("two"), None)

    assert opened(tmp_path, "u1").find() is None, "resume.pt is the other job's by now"
    assert opened(tmp_path, "u2").find() is None


def test_a_full_disk_leaves_the_previous_checkpoint(
    tmp_path: Path, weights: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path, "u1")
    store.save(written("one"), None)

    def full(target: Path) -> None:
        target.write_text("ha")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        store.save(full, None)

    assert content(store.find()) == b"one"


def test_restoring_undoes_what_came_after_the_checkpoint(tmp_path: Path, weights: Callable[[str], Path]) -> None:
    store = opened(tmp_path, "u1")
    store.save(written("epoch 2"), weights("best is 1"))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "last.pt").write_text("half of epo")
    (tmp_path / "weights" / "best.pt").write_text("half of epo")
    (tmp_path / "results.csv").write_text("epoch,time\n1,10\n2,20\n3,30\n3,")

    assert store.restore(2, b"last of epoch 2")

    assert (tmp_path / "weights" / "last.pt").read_text() == "last of epoch 2"
    assert (tmp_path / "weights" / "best.pt").read_text() == "best is 1"
    assert (tmp_path / "results.csv").read_text() == "epoch,time\n1,10\n2,20\n"


def test_a_discarded_checkpoint_is_not_found(tmp_path: Path, weights: Callable[[str], Path]) -> None:
    store = opened(tmp_path, "u1")
    store.save(written("one"), None)

    store.discard()

    assert store.find() is None
    assert opened(tmp_path, "u1").find() is None


@pytest.mark.parametrize("owner", ["", "{", "[]", "{}"])
def test_a_damaged_owner_file_means_no_checkpoint(tmp_path: Path, weights: Callable[[str], Path], owner: str) -> None:
    opened(tmp_path, "u1").save(written("one"), None)
    (tmp_path / "checkpoint" / "job.json").write_text(owner)

    assert opened(tmp_path, "u1").find() is None


def damage(file: Path) -> None:
    """Change 64 bytes in the middle."""
    whole = bytearray(file.read_bytes())
    middle = len(whole) // 2
    whole[middle - 32 : middle + 32] = bytes(byte ^ 0xFF for byte in whole[middle - 32 : middle + 32])
    file.write_bytes(whole)


def saved_twice(folder: Path, best: Path | None = None) -> Path:
    store = opened(folder, "u1")
    store.save(written("one" * 1000), best)
    store.save(written("two" * 1000), None)
    return folder / "checkpoint"


def test_a_damaged_checkpoint_is_skipped_for_the_one_before(tmp_path: Path) -> None:
    folder = saved_twice(tmp_path)
    damage(folder / "resume.pt")

    assert content(opened(tmp_path, "u1").find()) == b"one" * 1000

    opened(tmp_path, "u1").save(written("two again"), None)
    assert content(opened(tmp_path, "u1").find()) == b"two again"
    assert content(folder / "previous.pt") == b"one" * 1000, "the damaged one has not taken its place"


def test_where_both_are_damaged_there_is_none(tmp_path: Path) -> None:
    folder = saved_twice(tmp_path)
    for name in ("resume.pt", "previous.pt"):
        damage(folder / name)

    assert opened(tmp_path, "u1").find() is None


def test_a_checkpoint_that_was_cut_is_dropped_by_its_reader(tmp_path: Path) -> None:
    """Without its end it looks like one of release 0.1.0, which had no checksum."""
    folder = saved_twice(tmp_path)
    (folder / "resume.pt").write_bytes(b"two" * 500)
    store = opened(tmp_path, "u1")

    found = store.find()
    assert found == folder / "resume.pt"
    store.drop(found)

    assert content(store.find()) == b"one" * 1000


def test_damaged_best_weights_are_not_restored(tmp_path: Path, weights: Callable[[str], Path]) -> None:
    folder = saved_twice(tmp_path, weights("best" * 50))
    damage(folder / "best.pt")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "best.pt").write_text("half of epo")

    assert not opened(tmp_path, "u1").restore(2, b"last of epoch 2")
    assert not (tmp_path / "weights" / "best.pt").exists()


KILLED_AT_A_STEP = """
import os, shutil, signal, sys
from pathlib import Path
from yolo_trainer.training.checkpoint_store import CheckpointStore

folder, uid, kill_at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
steps = 0

def count(event, _):
    global steps
    if event in {"open", "os.rename", "os.remove", "half written"}:
        steps += 1
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

def write_in_halves(content, target):
    with open(target, "wb", buffering=0) as file:
        file.write(content[: len(content) // 2])
        sys.audit("half written")
        file.write(content[len(content) // 2 :])

shutil.copyfile = lambda source, target: write_in_halves(source.read_bytes(), target)
new, store = folder / "new.pt", CheckpointStore(folder / "checkpoint", folder, uid)
content = new.read_bytes()
sys.addaudithook(count)
store.save(lambda target: write_in_halves(content, target), new)
"""


@pytest.mark.parametrize("uid", ["u1", "u2"])
def test_a_kill_at_any_step_leaves_a_whole_checkpoint(tmp_path: Path, uid: str) -> None:
    """Job u1 has a checkpoint; u1 or u2 saves another, and is killed at the first, second, third … step of it."""
    old, new, seen = b"old" * 1000, b"new" * 1000, set()
    (tmp_path / "old.pt").write_bytes(old)
    (tmp_path / "new.pt").write_bytes(new)
    for step in itertools.count(1):
        opened(tmp_path, "another").discard()
        opened(tmp_path, "u1").save(written("old" * 1000), tmp_path / "old.pt")
        command = [sys.executable, "-c", KILLED_AT_A_STEP, str(tmp_path), uid, str(step)]
        process = subprocess.run(command, env={"PYTHONPATH": os.pathsep.join(sys.path)}, check=False)

        found = content(opened(tmp_path, uid).find())
        if found is not None:
            seen.add(found)
            assert found in ({old, new} if uid == "u1" else {new})
        if uid == "u1":
            assert found is not None
        else:
            assert content(opened(tmp_path, "u1").find()) in {None, old}
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
    assert new in seen
    assert step > 8, "a save has more steps than that"
