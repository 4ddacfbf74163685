"""How an attempt ended, and what that means for its job: the reason, the phase, the next batch size, the results."""

from dataclasses import replace

import pytest

from gpu_relay.api.v1alpha1 import Attempt
from gpu_relay.api.words import Phase, Reason
from gpu_relay.domain.job.attempts import attempt_of, next_batch, results_of, verdict
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.pod import Termination, TrainingPod
from tests.support.builders import NOW, ago, attempts, job, pod, stopping


@pytest.mark.parametrize(
    ("reasons", "limit", "phase"),
    [
        (["Completed"], 3, Phase.SUCCEEDED),
        (["DatasetInvalid"], 3, Phase.FAILED),
        (["ConfigInvalid"], 3, Phase.FAILED),
        (["Error"], 0, Phase.FAILED),
        (["Error"], 1, Phase.QUEUED),
        (["Error", "OutOfMemory"], 1, Phase.FAILED),
        (["Interrupted"] * 9, 0, Phase.QUEUED),
        (["GpuMemoryUnavailable", "WrongGpu", "PodLost"], 0, Phase.QUEUED),
        ([], 0, Phase.QUEUED),
    ],
)
def test_the_phase_after_the_last_reason(reasons: list[str], limit: int, phase: Phase) -> None:
    assert verdict(job(status={"attempts": attempts(*reasons)}, backoffLimit=limit), NOW).phase == phase


def test_the_next_batch_is_half_of_the_smallest_failed_one() -> None:
    """Ultralytics halves the batch itself in its first epoch: what an attempt failed with is what it reports."""

    def after(*batches: int | None, spec: int | str = 16) -> int | str:
        failed = [
            each.model_copy(update={"batch": batch})
            for each, batch in zip(attempts(*["OutOfMemory"] * len(batches)), batches, strict=True)
        ]
        return next_batch(job(status={"attempts": failed}, training={"batch": spec}))

    assert after(4) == 2
    assert after(4, 2, spec=32) == 1
    assert after(None, 8) == 4
    assert after(64, spec="auto") == 32
    assert after(None, spec="auto") == "auto"


def test_each_out_of_memory_halves_the_batch_down_to_one() -> None:
    assert next_batch(job(status={"attempts": attempts("OutOfMemory", "Error", "OutOfMemory")})) == 4
    assert next_batch(job(status={"attempts": attempts(*["OutOfMemory"] * 9)})) == 1
    assert next_batch(job(status={"attempts": attempts("OutOfMemory")}, training={"batch": "auto"})) == "auto"


def test_a_termination_message_is_not_trusted() -> None:
    word = {
        "reason": "Completed",
        "metrics": {"mAP50": 0.5, "bad": "x", "inf": float("inf"), "yes": True},
        "weights": {"best": "/output/a/best.pt", "n": 3},
        "exports": ["?"],
        "exportErrors": {"engine": "x" * 9000, "onnx": 3},
        "tracking": {"MLflow": "http://mlflow:5000/#/experiments/1/runs/2", "n": 3},
        "peakMemoryMiB": -4,
    }
    results = results_of(Termination(0, "Completed", word))
    assert results is not None
    assert (results.metrics, results.weights, results.exports) == ({"mAP50": 0.5}, {"best": "a/best.pt"}, {})
    assert results.peak_memory is None
    assert results.export_errors == {"engine": "x" * 1024}
    assert results.tracking == {"MLflow": "http://mlflow:5000/#/experiments/1/runs/2"}


def test_a_failure_after_training_keeps_results() -> None:
    weights = {"best": "/output/a/best.pt"}

    left = results_of(Termination(12, "Error", {"reason": "OutOfMemory", "weights": weights}))
    assert left is not None
    assert left.weights == {"best": "a/best.pt"}
    assert results_of(Termination(12, "Error", {"reason": "OutOfMemory", "weights": {}})) is None


POD = pod(ip=None, created=ago(60))
KILLED = Termination(137, "Error")
REFUSED, INIT_FAILED = Reason.NODE_REFUSED_POD, Reason.INIT_CONTAINER_FAILED


@pytest.mark.parametrize(
    ("owner", "pod", "ended", "reason"),
    [
        (job(), POD, Termination(0, "Completed", {"reason": "Completed"}), Reason.COMPLETED),
        (stopping(Reason.DEADLINE_EXCEEDED), POD, Termination(0, "", {"reason": "Completed"}), Reason.COMPLETED),
        (stopping(Reason.PREEMPTED), POD, Termination(143, "", {"reason": "Interrupted"}), Reason.PREEMPTED),
        (stopping(Reason.SUSPENDED), POD, KILLED, Reason.SUSPENDED),
        (stopping(Reason.YIELDING_TO_RESIDENT), POD, KILLED, Reason.INTERRUPTED),
        (stopping(Reason.PREEMPTED), POD, Termination(1, "", {"reason": "Error"}), Reason.ERROR),
        (job(), POD, Termination(1, "OOMKilled", {"reason": "Error"}), Reason.OOM_KILLED),
        (job(), POD, Termination(12, "OOMKilled", {"reason": "OutOfMemory"}), Reason.OUT_OF_MEMORY),
        (job(), POD, Termination(137, "OOMKilled"), Reason.OOM_KILLED),
        (job(), POD, replace(KILLED, pod_reason="Evicted", pod_message="low on disk"), Reason.EVICTED),
        (job(), POD, replace(KILLED, pod_reason="Terminated"), Reason.DISRUPTED),
        (job(), replace(POD, disruption="EvictionByEvictionAPI"), KILLED, Reason.DISRUPTED),
        (job(), replace(POD, disruption="DeletionByPodGC"), KILLED, Reason.NODE_LOST),
        (job(), POD, Termination(143, "Error"), Reason.INTERRUPTED),
        (job(), POD, KILLED, Reason.ERROR),
        (job(), POD, Termination(None, "OutOfcpu: no", pod_reason="OutOfcpu"), Reason.NODE_REFUSED_POD),
        (job(), POD, Termination(None, "x: no", pod_reason="TopologyAffinityError"), Reason.NODE_REFUSED_POD),
        (job(), POD, Termination(None, "x", pod_reason="New", pod_message="Pod was rejected: x"), REFUSED),
        (job(), POD, Termination(None, "x", pod_reason="Evicted", pod_message="Pod was rejected: x"), REFUSED),
        (job(), POD, Termination(137, "Error", pod_reason="UnexpectedAdmissionError"), Reason.ERROR),
        (job(), POD, Termination(None, "init container fetch failed", failed_init="fetch"), INIT_FAILED),
        (job(), POD, Termination(None, "Failed: "), Reason.POD_NOT_STARTED),
    ],
)
def test_the_reason_of_an_end(owner: Job, pod: TrainingPod, ended: Termination, reason: Reason) -> None:
    assert attempt_of(owner, pod, ended, NOW).reason == reason


def test_a_missed_deadline_fails_the_job_unless_it_completed() -> None:
    def judged(reason: str) -> Phase:
        attempt = Attempt(number=1, pod="digits-1", fence=7, reason=reason, completion_time=ago(1))
        return verdict(job(activeDeadlineSeconds=50, status={"start_time": ago(60), "attempts": [attempt]}), NOW).phase

    assert (judged("Completed"), judged("Interrupted")) == (Phase.SUCCEEDED, Phase.FAILED)
