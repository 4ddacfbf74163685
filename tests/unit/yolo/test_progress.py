import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from yolo_trainer.training.progress import Progress, ProgressTracker, Stage
from yolo_trainer.training.progress_server import ProgressServer, Sources, progress_json


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tracker(clock: Clock) -> ProgressTracker:
    return ProgressTracker(clock)


def sources(tracker: ProgressTracker, preview: Callable[[], bytes | None] = lambda: None) -> Sources:
    return Sources(tracker.snapshot, lambda: 10240, lambda: 11000, lambda: (5, 1), preview)


def train_epoch(tracker: ProgressTracker, clock: Clock, seconds: float, batches: int = 4) -> None:
    tracker.begin_epoch(batches)
    for _ in range(batches):
        clock.now += seconds / batches
        tracker.end_batch(8, {"box": 1.25})
    tracker.enter(Stage.VALIDATING)
    tracker.end_epoch({"mAP50": 0.5})


def test_it_begins_with_preparing(tracker: ProgressTracker) -> None:
    assert tracker.snapshot() == Progress()
    assert progress_json(sources(tracker))["stage"] == "preparing"


def test_an_epoch_counts_when_it_is_finished(tracker: ProgressTracker, clock: Clock) -> None:
    tracker.plan(3)
    tracker.begin_epoch(4)
    tracker.end_batch(8, {})
    assert (tracker.snapshot().epoch, tracker.snapshot().batch) == (0, 1)

    train_epoch(tracker, clock, 10)

    assert tracker.snapshot().epoch == 1
    assert tracker.snapshot().metrics == {"mAP50": 0.5}


def test_an_epochs_losses_stay_while_the_next_one_counts_its_own(tracker: ProgressTracker, clock: Clock) -> None:
    tracker.plan(3)
    train_epoch(tracker, clock, 10)
    tracker.begin_epoch(4)
    tracker.end_batch(8, {"box": 0.5})

    answer = progress_json(sources(tracker))

    assert (answer["epoch_losses"], answer["losses"]) == ({"box": 1.25}, {"box": 0.5})


def test_speed_counts_training_only(tracker: ProgressTracker, clock: Clock) -> None:
    tracker.plan(3)
    tracker.begin_epoch(4)
    clock.now += 2
    tracker.end_batch(8, {})
    assert tracker.snapshot().images_per_second == 4

    clock.now += 100
    tracker.end_epoch({})

    assert tracker.snapshot().images_per_second == 4


def test_the_first_epochs_eta_goes_by_its_batches(tracker: ProgressTracker, clock: Clock) -> None:
    tracker.plan(2)
    tracker.begin_epoch(4)
    clock.now += 5
    tracker.end_batch(8, {})

    assert tracker.snapshot().eta_seconds == pytest.approx(2 * 20 - 5)


def test_later_ones_go_by_finished_epochs(tracker: ProgressTracker, clock: Clock) -> None:
    tracker.plan(5)
    train_epoch(tracker, clock, 10)
    train_epoch(tracker, clock, 20)
    assert tracker.snapshot().eta_seconds == pytest.approx(3 * 15)

    tracker.begin_epoch(4)
    clock.now += 6
    tracker.end_batch(8, {})

    assert tracker.snapshot().eta_seconds == pytest.approx(3 * 15 - 6)


def test_no_epoch_is_expected_after_the_time_limit(tracker: ProgressTracker, clock: Clock) -> None:
    tracker.plan(100)
    tracker.begin_epoch(4, seconds_left=35)
    clock.now += 5
    tracker.end_batch(8, {})
    assert tracker.snapshot().eta_seconds == pytest.approx(35), "of 20 s each, two epochs begin within the limit"

    tracker.end_epoch({})
    assert tracker.snapshot().eta_seconds == pytest.approx(30), "of 5 s each, six more"

    tracker.begin_epoch(4, seconds_left=0)
    assert tracker.snapshot().eta_seconds == pytest.approx(30)
    tracker.end_batch(8, {})
    assert tracker.snapshot().eta_seconds == pytest.approx(5)


def test_a_resumed_run_continues_the_count(tracker: ProgressTracker, clock: Clock) -> None:
    tracker.plan(5, finished=3)
    assert tracker.snapshot().epoch == 3

    train_epoch(tracker, clock, 10)

    assert tracker.snapshot().epoch == 4
    assert tracker.snapshot().eta_seconds == pytest.approx(10)


def test_more_epochs_than_planned_do_not_show(tracker: ProgressTracker, clock: Clock) -> None:
    tracker.plan(1)
    train_epoch(tracker, clock, 10)
    train_epoch(tracker, clock, 10)

    assert tracker.snapshot().epoch == 1


def test_figures_that_json_lacks_are_null(tracker: ProgressTracker) -> None:
    tracker.plan(1)
    tracker.begin_epoch(1)
    tracker.end_batch(8, {"box": float("nan"), "cls": float("inf")})

    answer = json.loads(json.dumps(progress_json(sources(tracker)), allow_nan=False))

    assert answer["losses"] == {"box": None, "cls": None}


@pytest.fixture
def url(tracker: ProgressTracker) -> Iterator[str]:
    server = ProgressServer("127.0.0.1", 0, sources(tracker))
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as response:
        return str(response.read().decode())


def test_progress_is_served_as_the_contract_says(url: str, tracker: ProgressTracker, clock: Clock) -> None:
    tracker.plan(10)
    train_epoch(tracker, clock, 10)

    assert json.loads(get(f"{url}/progress")) == {
        "stage": "training",
        "epoch": 1,
        "epochs": 10,
        "batch": 4,
        "batches": 4,
        "metrics": {"mAP50": 0.5},
        "losses": {"box": 1.25},
        "epoch_losses": {"box": 1.25},
        "images_per_second": 3.2,
        "eta_seconds": 90,
        "gpu_memory_mib": 10240,
    }


def test_metrics_are_served_for_prometheus(url: str, tracker: ProgressTracker, clock: Clock) -> None:
    tracker.plan(10)
    train_epoch(tracker, clock, 10)

    lines = get(f"{url}/metrics").splitlines()

    for line in (
        'gpu_relay_training_stage{stage="training"} 1.0',
        'gpu_relay_training_stage{stage="done"} 0.0',
        "gpu_relay_training_epoch 1.0",
        "gpu_relay_training_epochs 10.0",
        'gpu_relay_training_metric{metric="mAP50"} 0.5',
        'gpu_relay_training_loss{loss="box"} 1.25',
        "gpu_relay_training_images_per_second 3.2",
        "gpu_relay_training_eta_seconds 90.0",
        "gpu_relay_training_gpu_memory_bytes 1.073741824e+10",
        "gpu_relay_training_peak_gpu_memory_bytes 1.1534336e+10",
        'gpu_relay_training_hold_renewals_total{outcome="renewed"} 5.0',
        'gpu_relay_training_hold_renewals_total{outcome="failed"} 1.0',
    ):
        assert line in lines


def test_other_paths_are_not_found(url: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"{url}/")


def test_a_taken_port_is_an_error(url: str, tracker: ProgressTracker) -> None:
    with pytest.raises(OSError, match="in use"):
        ProgressServer("127.0.0.1", int(url.rpartition(":")[2]), sources(tracker))
