import itertools
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from yolo_trainer.errors import TrainerError
from yolo_trainer.job.spec import Job
from yolo_trainer.outputs.manifest import Manifest
from yolo_trainer.outputs.publish import JOURNAL, MANIFEST, Publisher, Volume
from yolo_trainer.storage.transfer import RemoteFolder, sha256_of

NEW = {"weights/best.pt": "new best", "results.csv": "new", "plot.png": "new plot"}


def run(output: Path, uid: str, files: dict[str, str]) -> Manifest:
    """Leave a run's files in the work folder and return its manifest, still without them."""
    for name, content in files.items():
        file = output / "work" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return Manifest(job={"uid": uid}, epochs=3)


def volume(output: Path) -> Volume:
    return Volume(output, output / "work")


def is_consistent(output: Path) -> bool:
    """Return whether the manifest never misleads a reader."""
    file = output / MANIFEST
    if not file.exists():
        return True
    files = json.loads(file.read_text())["files"]
    return all(sha256_of(output / name) == entry["sha256"] for name, entry in files.items())


def test_what_is_published_is_found_again(tmp_path: Path) -> None:
    assert volume(tmp_path).published("u1") is None

    manifest = volume(tmp_path).publish(run(tmp_path, "u1", NEW))

    assert manifest.files.keys() == NEW.keys()
    assert (tmp_path / "weights" / "best.pt").read_text() == "new best"
    assert not (tmp_path / "work").exists()
    assert volume(tmp_path).published("u1") == manifest
    assert volume(tmp_path).published("u2") is None, "another job's results are not ours"


def test_results_that_were_changed_do_not_count(tmp_path: Path) -> None:
    volume(tmp_path).publish(run(tmp_path, "u1", NEW))
    (tmp_path / "results.csv").write_text("NEW")

    assert volume(tmp_path).published("u1") is None


def test_another_runs_files_do_not_stay_behind(tmp_path: Path) -> None:
    volume(tmp_path).publish(run(tmp_path, "u1", {"weights/best.pt": "old", "old.png": "old"}))
    (tmp_path / "notes.txt").write_text("the user's own")

    volume(tmp_path).publish(run(tmp_path, "u2", NEW))

    assert not (tmp_path / "old.png").exists()
    assert (tmp_path / "notes.txt").exists()
    assert is_consistent(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"job": 1}'])
def test_a_foreign_manifest_is_ignored(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST).write_text(content)

    assert volume(tmp_path).published("u1") is None


STEPS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}


def publish_and_die(output: Path, kill_at: int) -> bool:
    """Publish in a child process that is killed at a step; say whether it was done before."""
    child = os.fork()
    if child == 0:
        steps = itertools.count(1)

        def count(event: str, _: object) -> None:
            if event in STEPS and next(steps) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        volume(output).publish(Manifest(job={"uid": "u2"}, epochs=3))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_kill_at_any_step_misleads_no_reader_and_is_repaired(tmp_path: Path) -> None:
    """Job u1's results are there; u2 publishes its own, is killed at the first, second, third … step, and continues."""
    resumed = 0
    for step in itertools.count(1):
        output = tmp_path / str(step)
        volume(output).publish(run(output, "u1", {"weights/best.pt": "old", "old.png": "old"}))
        run(output, "u2", NEW)
        done = publish_and_die(output, step)

        assert is_consistent(output)
        if done:
            break
        if (output / "work" / JOURNAL).exists():
            resumed += 1
            manifest = volume(output).published("u2")
            assert manifest is not None
            assert manifest.files.keys() == NEW.keys()
            assert is_consistent(output)
            assert not (output / "old.png").exists()
    assert resumed > 5


def publisher(output: Path, remote: Path, uid: str = "u1") -> Publisher:
    job = Job.model_validate(
        {
            "job": {"namespace": "n", "name": "j", "uid": uid},
            "model": "yolo26n.yaml",
            "dataset": {"path": "/data"},
            "output": {"path": str(output), "uri": remote.as_uri()},
        }
    )
    scratch = output.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return Publisher(job, output / "work", RemoteFolder(remote.as_uri()), scratch)


def test_results_are_copied_to_a_uri_and_found_there(tmp_path: Path) -> None:
    output, remote = tmp_path / "output", tmp_path / "remote"
    made = publisher(output, remote)

    manifest = made.publish(run(output, "u1", NEW))

    assert (remote / "weights" / "best.pt").read_text() == "new best"
    assert is_consistent(remote)
    assert made.location("weights/best.pt") == f"{remote.as_uri()}/weights/best.pt"
    assert publisher(tmp_path / "elsewhere", remote).find_published() == manifest
    assert publisher(tmp_path / "elsewhere", remote, "u2").find_published() is None


def test_a_copy_that_was_cut_short_is_finished_without_training(tmp_path: Path) -> None:
    output, remote = tmp_path / "output", tmp_path / "remote"
    publisher(tmp_path / "other", remote).publish(run(tmp_path / "other", "u0", {"old.png": "old"}))
    volume(output).publish(run(output, "u1", NEW))

    assert publisher(output, remote).find_published() is not None

    assert (remote / "plot.png").exists()
    assert not (remote / "old.png").exists()
    assert is_consistent(remote)


def test_a_further_file_of_the_run_is_added_here_and_there(tmp_path: Path) -> None:
    output, remote = tmp_path / "output", tmp_path / "remote"
    made = publisher(output, remote)
    first = made.publish(run(output, "u1", NEW))
    written = (remote / "weights" / "best.pt").stat().st_mtime_ns
    run(output, "u1", {"weights/best.onnx": "exported"})

    both = made.add(first, ["weights/best.onnx"])

    assert both.files.keys() == {*NEW, "weights/best.onnx"}
    for folder in (output, remote):
        assert (folder / "weights" / "best.onnx").read_text() == "exported"
        assert is_consistent(folder)
        assert Manifest.model_validate_json((folder / MANIFEST).read_bytes()) == both
    assert (remote / "weights" / "best.pt").stat().st_mtime_ns == written, "what is there is not copied again"
    assert publisher(output, remote).find_published() == both


def test_where_only_the_uri_has_the_run_a_file_is_brought_and_added(tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    first = publisher(tmp_path / "lost", remote).publish(run(tmp_path / "lost", "u1", NEW))
    output = tmp_path / "output"
    made = publisher(output, remote)

    made.copy_to(first, "weights/best.pt", output / "work" / "weights" / "best.pt")
    run(output, "u1", {"weights/best.onnx": "exported"})
    both = made.add(first, ["weights/best.onnx"])

    assert (output / "work" / "weights" / "best.pt").read_text() == "new best"
    assert (remote / "weights" / "best.onnx").read_text() == "exported"
    assert publisher(tmp_path / "elsewhere", remote).find_published() == both
    assert not (output / MANIFEST).exists(), "it would name files that are not here"


def test_missing_weights_are_an_error(tmp_path: Path) -> None:
    output, remote = tmp_path / "output", tmp_path / "remote"
    made = publisher(output, remote)
    first = made.publish(run(output, "u1", NEW))
    (output / "weights" / "best.pt").write_text("changed")
    (remote / "weights" / "best.pt").unlink()

    with pytest.raises(TrainerError, match="missing or changed"):
        made.copy_to(first, "weights/best.pt", tmp_path / "best.pt")
