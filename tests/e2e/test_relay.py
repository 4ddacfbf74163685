"""The mission, end to end: real pods, a real Sam3Model, a real Ultralytics training, a simulated GPU."""

from pathlib import Path

from demo.relay import MODEL_MIB, Relay
from devcluster.waiting import eventually


def test_sam3_gives_way_to_a_training_and_comes_back(relay: Relay, photograph: Path) -> None:
    relay.load_sam3(photograph)
    assert relay.used_mib() == MODEL_MIB
    with relay.watched() as seen:
        relay.apply("story")
        relay.trains("story")
        with relay.sam3() as client:
            health = client.get("/health").json()
            refused = client.post("/api/v1/segment", files={"image": b"x"}, data={"prompt": "building"})
        assert health["model_loaded"] is False
        assert health["hold"]["holder"].startswith("yolotrainingjob/vision/story/")
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        relay.reaches("story", "Succeeded", "Failed")
    status = relay.job("story")["status"]
    assert status["phase"] == "Succeeded", status
    assert [attempt["reason"] for attempt in status["attempts"]] == ["Completed"]
    assert seen.polls > 10
    relay.is_back()
    weights = relay.volumes.results / status["results"]["weights"]["best"]
    assert weights.stat().st_size > 1_000_000
    relay.load_sam3(photograph)  # detects again
    assert "3/3" in relay.kubectl("-n", "vision", "get", "ytj", "story")


def test_operator_killed_while_acquiring(relay: Relay, photograph: Path) -> None:
    relay.load_sam3(photograph)
    with relay.watched():
        relay.apply("acquiring")
        relay.reaches("acquiring", "Acquiring", "Training")
        relay.kill_pod("app.kubernetes.io/name=gpu-relay")
        relay.reaches("acquiring", "Succeeded", "Failed")
    assert relay.phase("acquiring") == "Succeeded"
    relay.is_back()


def test_operator_killed_while_training(relay: Relay, photograph: Path) -> None:
    relay.load_sam3(photograph)
    with relay.watched():
        relay.apply("training")
        relay.trains("training")
        relay.kill_pod("app.kubernetes.io/name=gpu-relay")
        relay.reaches("training", "Succeeded", "Failed")
    status = relay.job("training")["status"]
    assert [attempt["reason"] for attempt in status["attempts"]] == ["Completed"]
    relay.is_back()


def test_operator_killed_while_releasing(relay: Relay, photograph: Path) -> None:
    relay.load_sam3(photograph)
    with relay.watched():
        relay.apply("releasing")
        relay.trains("releasing")
        eventually(lambda: relay.used_mib() == 0, "the training to let go of the GPU", within=120, every=0.02)
        relay.kill_pod("app.kubernetes.io/name=gpu-relay")
        relay.reaches("releasing", "Succeeded", "Failed")
    assert relay.phase("releasing") == "Succeeded"
    relay.is_back()


def test_a_killed_sam3_stays_unloaded_until_the_turn_ends(relay: Relay, photograph: Path) -> None:
    """Law 2: a resident that restarts must not load while a training has its GPU."""
    relay.load_sam3(photograph)
    with relay.watched():
        relay.apply("restart")
        relay.trains("restart")
        relay.kill_pod("gpurelay.dev/resident=sam3")
        eventually(lambda: not relay.loaded() or relay.phase("restart") == "Succeeded", "SAM3's new pod", within=90)
        relay.reaches("restart", "Succeeded", "Failed")
    assert relay.phase("restart") == "Succeeded"
    relay.is_back()


def test_a_job_deleted_in_training_gives_the_gpu_back(relay: Relay, photograph: Path) -> None:
    relay.load_sam3(photograph)
    with relay.watched():
        relay.apply("deleted")
        relay.trains("deleted")
        relay.kubectl("-n", "vision", "delete", "ytj", "deleted", "--wait=false")
        relay.is_back()


def test_two_jobs_train_one_after_the_other(relay: Relay, photograph: Path) -> None:
    relay.load_sam3(photograph)
    with relay.watched():
        for name in ("first", "second"):
            relay.apply(name)
        for name in ("first", "second"):
            relay.reaches(name, "Succeeded", "Failed", within=240)
    attempts = [relay.job(name)["status"]["attempts"] for name in ("first", "second")]
    assert [len(each) for each in attempts] == [1, 1]
    earlier, later = sorted((each[0] for each in attempts), key=lambda attempt: str(attempt["startTime"]))
    assert earlier["completionTime"] <= later["startTime"]
    relay.is_back()
