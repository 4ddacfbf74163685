"""Who asks why a job waits finds every reason that a waiting job may give."""

from gpu_relay.api.words import Reason
from tests.support.pages import page

NOT_WAITING = {
    Reason.ADMITTED, Reason.PREPARED, Reason.INVALID_SPEC, Reason.RESUMED, Reason.MEMORY_PROVEN,
    Reason.TRAINING_RUNNING, Reason.YIELDING_TO_RESIDENT, Reason.SUSPENDED, Reason.PREEMPTED, Reason.QUOTA_WITHDRAWN,
    Reason.DEADLINE_EXCEEDED, Reason.STOPPING, Reason.TRAINING_ENDED, Reason.GPU_RETURNED, Reason.GPU_PASSED_ON,
    Reason.RESIDENT_LOADED, Reason.RESIDENT_LOAD_FAILED, Reason.NO_RESIDENT, Reason.BACKOFF_LIMIT_EXCEEDED,
    Reason.COMPLETED, Reason.INTERRUPTED, Reason.GPU_MEMORY_UNAVAILABLE, Reason.WRONG_GPU, Reason.OUT_OF_MEMORY,
    Reason.DATASET_INVALID, Reason.CONFIG_INVALID, Reason.OOM_KILLED, Reason.EVICTED, Reason.DISRUPTED, Reason.ERROR,
    Reason.POD_LOST, Reason.PREPARATION_SKIPPED, Reason.PREPARATION_TIMED_OUT, Reason.MULTIPLE_RESIDENTS,
    Reason.NODE_REFUSED_POD, Reason.MEMORY_EXCEEDED,
}  # fmt: skip
"""docs/life-of-a-job.md documents the reasons of running and ended jobs, docs/any-training.md those of Workloads."""


def test_every_reason_to_wait_is_documented() -> None:
    text = page("docs/why-is-my-job-waiting.md").path.read_text()
    assert [reason for reason in Reason if reason not in NOT_WAITING and f"`{reason}`" not in text] == []
