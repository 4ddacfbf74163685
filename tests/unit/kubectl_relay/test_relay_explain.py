"""Why a job waits, in sentences."""

from dataclasses import replace

import pytest

from gpu_relay.api.v1alpha1 import Results
from gpu_relay.api.words import Reason
from gpu_relay.domain.objects.leader import LeaderRecord
from gpu_relay.overview.snapshot import ClusterSnapshot
from kubectl_relay.views.advice import ADVICE, advice
from kubectl_relay.views.explain import Explanation, explain
from kubectl_relay.views.nearest import missing_job
from tests.unit.kubectl_relay.relay_world import (
    GPU,
    NOW,
    ago,
    attempt,
    condition,
    job,
    job_event,
    lease,
    queued,
    training,
)  # fmt: skip

NEVER_THE_STATE_OF_A_JOB = {
    Reason.GPU_LEASED, Reason.TRAINING_ENDED, Reason.GPU_RETURNED, Reason.GPU_PASSED_ON, Reason.RESIDENT_LOADED,
    Reason.RESIDENT_LOAD_FAILED, Reason.NO_RESIDENT,
}  # fmt: skip
"""Said by Events and by ResidentReloaded only: no job waits for, or ends with, one of these."""


def test_every_reason_for_a_state_has_advice() -> None:
    assert set(Reason) - set(ADVICE) == NEVER_THE_STATE_OF_A_JOB


def test_advice_names_the_job() -> None:
    for reason in ADVICE:
        for sentence in advice(training(), reason):
            assert "{" not in sentence, reason
            assert sentence[-1] in ".`", sentence


def explained(snapshot: ClusterSnapshot, name: str) -> Explanation:
    return explain(snapshot, next(each for each in snapshot.jobs if each.key.name == name))


def test_a_queued_job_hears_who_is_before_it_and_who_has_the_gpu() -> None:
    jobs = (training("running"), queued("urgent", 1, spec={"priority": 5}), queued("digits", 2))
    found = explained(ClusterSnapshot(NOW, jobs, leases={GPU: lease(training("running"))}), "digits")
    assert found.headline == "vision/digits waits for a GPU: number 2 in the queue."
    assert found.why == (
        "It has waited for 30m 00s.",
        "The start of its turn is unknown: there is no estimate of how long the training jobs before it take.",
        "Before it in the queue: vision/urgent (priority 5); its own priority is 0.",
        "GPU gpu-1 on node-1 is owned by vision/running since 11:56:00, Training, epoch 12/100, "
        "expected to end at 12:10:00.",
    )


def test_jobs_that_cannot_be_seen_are_counted() -> None:
    found = explained(ClusterSnapshot(NOW, (queued("digits", 3),), everywhere=False), "digits")
    assert "2 of the jobs before it are in namespaces that you cannot see." in found.why


def test_an_operator_that_is_gone_is_the_first_thing_to_know() -> None:
    dead = LeaderRecord("1", "", 12, 0, ago(minutes=3))
    found = explained(ClusterSnapshot(NOW, (job(),), leader=dead), "digits")
    assert found.headline == "vision/digits has not been reconciled by an operator yet."
    assert found.why[0].startswith("No operator has been the leader for 3m 00s: no job starts")
    fresh = explained(ClusterSnapshot(NOW, (job(),)), "digits")
    assert "A running operator reconciles it within seconds" in fresh.why[0]


def test_a_spec_that_was_changed_a_moment_ago() -> None:
    changed = replace(training(), generation=2)
    assert (
        "The operator has not acted on the newest change of the spec yet." in explain(ClusterSnapshot(NOW), changed).why
    )


def test_what_is_waited_for_comes_with_what_it_means() -> None:
    waits = condition("Reconciling", "WaitingForMemory", "5,000 MiB are in use")
    found = explain(ClusterSnapshot(NOW), job(phase="Acquiring", conditions=[waits]))
    assert found.headline == "vision/digits has its turn, and waits for 10,240 MiB to be measured free on its GPU."
    assert found.why == ("WaitingForMemory: 5,000 MiB are in use.", "The measured free memory is not enough yet.")
    assert any("nvidia-smi" in sentence for sentence in found.change)


@pytest.mark.parametrize(
    ("reason", "headline"),
    [
        (Reason.PREPARING, "vision/digits is being prepared: its data is fetched and checked, which takes no GPU."),
        (Reason.WAITING_FOR_REVIEW, "vision/digits waits until its labels are approved; it holds no GPU."),
        (
            Reason.NO_GPU_FITS,
            "vision/digits waits for a GPU that suits it; its data is fetched and checked when there is one.",
        ),
        (
            Reason.WAITING_TO_PREPARE,
            "vision/digits waits until its data can be fetched and checked, which takes no GPU.",
        ),
    ],
)
def test_a_job_that_is_not_prepared_yet_says_if_it_has_a_pod(reason: Reason, headline: str) -> None:
    waits = job(phase="Preparing", conditions=[condition("Reconciling", reason, "as it says")])
    assert explain(ClusterSnapshot(NOW), waits).headline == headline


def test_history_is_shown_once_and_in_order() -> None:
    lost = queued("digits", 1, attempts=[attempt(1, 5, "OutOfMemory", minutes_ago=20), attempt(2, 6, "Interrupted")])
    events = (
        job_event(lost, "GPULeased", "GPU gpu-1 on node node-1 assigned", at=ago(minutes=26)),
        job_event(lost, "TrainingEnded", at=ago(minutes=20)),
    )
    found = explained(ClusterSnapshot(NOW, (lost,), events=events), "digits")
    assert [each.text.split(":")[0] for each in found.history] == [
        "created",
        "GPULeased",
        "attempt 1 ended, after 5m 00s",
        "attempt 2 ended, after 5m 00s",
        "1 of its attempts count as failed; it may have 3 more (spec.backoffLimit)",
    ]
    assert [each.warning for each in found.history] == [False, False, True, False, True]


def test_a_success_says_where_the_weights_are() -> None:
    done = job(
        phase="Succeeded",
        conditions=[condition("Complete", "Completed", "100 of 100 epochs")],
        results=Results(weights={"best": "digits/best.pt"}, metrics={"mAP50": 0.91}, peak_memory=9412),
    )
    found = explain(ClusterSnapshot(NOW), done)
    assert found.why[-3:] == (
        "Weights on PVC results: digits/best.pt.",
        "Metrics of the best weights: mAP50 0.91.",
        "It used 9,412 MiB of the 10,240 MiB that it asked for.",
    )
    assert found.change == ()


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("digit", [("vision", "digits")], "there is no job digit in namespace vision; did you mean digits?"),
        ("x", [("vision", "digits")], "there is no job x in namespace vision; there are: digits"),
        ("x", [], "there is no job x in namespace vision, nor any other"),
        ("x", [("a", "x")], "there is no job x in namespace vision; there is one in a: use -n a"),
        ("x", [("vision", f"job-{n}") for n in range(7)], "job-0, job-1, job-2, job-3, job-4 and 2 more"),
    ],
)
def test_the_nearest_job(name: str, known: list[tuple[str, str]], said: str) -> None:
    assert missing_job("vision", name, known).endswith(said)
