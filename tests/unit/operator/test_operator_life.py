"""Mishaps, stops, deadlines and preemption, by table."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gpu_relay.api.v1alpha1 import Attempt, Progress, Turn, YoloTrainingJobSpec, YoloTrainingJobStatus
from gpu_relay.api.words import Phase, Reason
from gpu_relay.domain.decision import DeletePod, ReturnLease
from gpu_relay.domain.job import pod_failures, stop_reasons
from gpu_relay.domain.job.attempts import attempt_of, verdict
from gpu_relay.domain.job.deadlines import deadline, expires_at
from gpu_relay.domain.objects.job import Job, JobKey
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.pod import Termination, TrainingPod
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.quantities import parse_time, timestamp
from gpu_relay.domain.queue.candidate import Candidate
from gpu_relay.domain.queue.estimate import estimated_starts
from gpu_relay.domain.queue.placement import explain_placement
from gpu_relay.domain.queue.preemption import preemptors
from gpu_relay.domain.queue.run_lengths import Lengths, has_trained
from gpu_relay.domain.turn import plan as turn
from gpu_relay.domain.turn_view import Preemptor, TurnView

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
POD = TrainingPod(
    "vision", "digits-1", "p", "uid-digits", "gpu-1", 7, "Running", None, False, "2026-01-01T11:59:00Z", None, None,
    node="node-1",
)  # fmt: skip
KILLED = Termination(137, "Error")
REFUSED, INIT_FAILED = Reason.NODE_REFUSED_POD, Reason.INIT_CONTAINER_FAILED


def ago(seconds: float) -> str:
    return timestamp(NOW - timedelta(seconds=seconds))


def job(name: str = "digits", *, status: dict[str, Any] | None = None, **spec: Any) -> Job:
    base = {
        "model": "yolo26n.yaml",
        "dataset": {"persistentVolumeClaim": {"claimName": "data"}},
        "output": {"persistentVolumeClaim": {"claimName": "results"}},
        "gpu": {"memory": "10Gi"},
    }
    key = JobKey("vision", name, f"uid-{name}")
    parsed = YoloTrainingJobSpec.model_validate({**base, **spec})
    return Job(key, 1, "1", ago(600), False, parsed, YoloTrainingJobStatus(**(status or {})))


def told(reason: Reason) -> Job:
    return job(status={"turn": Turn(fence=7, since=ago(60), stopping=reason)})


def lease(owner: Job, gpu: str = "gpu-1", fence: int = 7) -> GpuLease:
    return GpuLease(gpu, "1", gpu, owner.key.holder, fence, ago(60), "key", "", "")


@pytest.mark.parametrize(
    ("owner", "pod", "ended", "reason"),
    [
        (job(), POD, Termination(0, "Completed", {"reason": "Completed"}), Reason.COMPLETED),
        (told(Reason.DEADLINE_EXCEEDED), POD, Termination(0, "", {"reason": "Completed"}), Reason.COMPLETED),
        (told(Reason.PREEMPTED), POD, Termination(143, "", {"reason": "Interrupted"}), Reason.PREEMPTED),
        (told(Reason.SUSPENDED), POD, KILLED, Reason.SUSPENDED),
        (told(Reason.YIELDING_TO_RESIDENT), POD, KILLED, Reason.INTERRUPTED),
        (told(Reason.PREEMPTED), POD, Termination(1, "", {"reason": "Error"}), Reason.ERROR),
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
def test_what_an_end_counts_as(owner: Job, pod: TrainingPod, ended: Termination, reason: Reason) -> None:
    assert attempt_of(owner, pod, ended, NOW).reason == reason


def test_a_stop_told_in_another_turn_says_nothing_of_this_one() -> None:
    assert told(Reason.PREEMPTED).recorded_stop(8) is None


def test_the_deadline_counts_from_the_start_and_stands_while_suspended() -> None:
    begun = {"start_time": ago(60)}
    assert deadline(job()) is None
    assert deadline(job(activeDeadlineSeconds=50)) is None, "not before the first turn"
    assert deadline(job(activeDeadlineSeconds=50, status=begun)) == NOW - timedelta(seconds=10)
    assert deadline(job(activeDeadlineSeconds=50, suspend=True, status=begun)) is None
    assert deadline(job(activeDeadlineSeconds=50, status={**begun, "phase": Phase.SUCCEEDED})) is None


def test_a_missed_deadline_fails_the_job_unless_it_completed() -> None:
    def judged(reason: str) -> Phase:
        attempt = Attempt(number=1, pod="digits-1", fence=7, reason=reason, completion_time=ago(1))
        return verdict(job(activeDeadlineSeconds=50, status={"start_time": ago(60), "attempts": [attempt]}), NOW).phase

    assert (judged("Completed"), judged("Interrupted")) == (Phase.SUCCEEDED, Phase.FAILED)


def test_only_jobs_that_are_over_expire() -> None:
    over = {"phase": Phase.FAILED, "completion_time": ago(60)}
    assert expires_at(job(status=over)) is None
    assert expires_at(job(ttlSecondsAfterFinished=0, status={"phase": Phase.TRAINING})) is None
    assert expires_at(job(ttlSecondsAfterFinished=0, status=over)) == NOW - timedelta(seconds=60)


def test_the_cause_is_on_record_before_the_pod_is_told() -> None:
    low = job(preemptible=True)
    view = TurnView(NOW, Policy(), lease(low), None, low, pods=(POD,), preemptor=Preemptor("vision/high", 5))
    decision = turn.plan(view)
    assert decision.action == DeletePod(POD)
    assert decision.status is not None
    assert decision.status.turn is not None
    assert decision.status.turn.stopping == Reason.PREEMPTED
    going = replace(low, status=decision.status)
    again = turn.plan(replace(view, job=going, pods=(replace(POD, deleting=True),), preemptor=None))
    assert again.action is None
    assert again.status == decision.status, "nothing new to write while it stops"
    spared = turn.plan(replace(view, job=going, preemptor=None))
    assert spared.status is not None
    assert spared.status.turn is not None
    assert spared.status.turn.stopping is None, "the other job is gone, and the pod was never told"


@pytest.mark.parametrize(
    ("spec", "priority", "stops_"),
    [({"preemptible": True}, 1, True), ({"preemptible": True}, 0, False), ({"preemptible": False}, 9, False)],
)
def test_who_is_preempted(spec: dict[str, Any], priority: int, stops_: bool) -> None:
    owner = job(**spec)
    view = TurnView(NOW, Policy(), lease(owner), None, owner, preemptor=Preemptor("vision/high", priority))
    stopped = stop_reasons.withdrawn(view, owner)
    assert (stopped is not None and stopped.reason == Reason.PREEMPTED) is stops_
    assert isinstance(turn.plan(view).action, ReturnLease) is stops_


def running(name: str, gpu: str, began: float, **spec: Any) -> tuple[Job, Candidate]:
    owner = job(name, status={"phase": Phase.TRAINING, "turn": Turn(fence=7, since=ago(began))}, **spec)
    return owner, Candidate(gpu, None, {}, lease(owner, gpu))


def choose(waiting: list[Job], *turns: tuple[Job, Candidate]) -> dict[str, Preemptor]:
    candidates = [candidate for _, candidate in turns]
    owners = {owner.key.holder: owner for owner, _ in turns}
    return preemptors(explain_placement(waiting, candidates, NOW, Policy()), candidates, owners, Policy())


def test_the_least_urgent_is_stopped_and_among_equals_the_last_that_began() -> None:
    high = job("high", priority=5)
    a = running("a", "gpu-a", 500, preemptible=True, priority=1)
    b = running("b", "gpu-b", 500, preemptible=True)
    c = running("c", "gpu-c", 50, preemptible=True)
    assert list(choose([high], a, b, c)) == ["gpu-c"]
    assert list(choose([high, job("next", priority=4)], a, b, c)) == ["gpu-c", "gpu-b"]
    assert choose([high], running("d", "gpu-d", 9)) == {}, "nobody is stopped who does not allow it"
    assert choose([job("equal", priority=1)], a) == {}, "an equal stops nobody"


def test_nobody_is_stopped_where_a_gpu_comes_free_anyway() -> None:
    victim = running("victim", "gpu-a", 500, preemptible=True)
    ends, candidate = running("ends", "gpu-b", 50)
    ends = replace(ends, status=ends.status.model_copy(update={"phase": Phase.RELEASING}))
    high = job("high", priority=5)
    assert choose([high], victim, (ends, candidate)) == {}
    assert list(choose([high, job("next", priority=4)], victim, (ends, candidate))) == ["gpu-a"]


def test_one_who_stops_already_is_not_joined_by_another() -> None:
    first = running("first", "gpu-a", 500, preemptible=True)
    owner, candidate = running("second", "gpu-b", 600, preemptible=True)
    stopping = Turn(fence=7, since=ago(600), stopping=Reason.PREEMPTED)
    owner = replace(owner, status=owner.status.model_copy(update={"turn": stopping}))
    assert list(choose([job("high", priority=5)], first, (owner, candidate))) == ["gpu-b"]


def test_one_that_has_failed_or_waits_for_an_idle_resident_stops_nobody() -> None:
    victim = running("victim", "gpu-a", 500, preemptible=True)
    failed = Attempt(number=1, pod="x", fence=1, reason=Reason.GPU_MEMORY_UNAVAILABLE, completion_time=ago(500))
    assert choose([job("failed", priority=5, status={"attempts": [failed]})], victim) == {}
    preempted = failed.model_copy(update={"reason": Reason.PREEMPTED})
    assert list(choose([job("again", priority=5, status={"attempts": [preempted]})], victim)) == ["gpu-a"]
    assert choose([job("polite", priority=5, gpu={"memory": "1Gi", "startWhen": "ResidentIdle"})], victim) == {}


@pytest.mark.parametrize(
    ("word", "reason", "failing"),
    [
        ("ImagePullBackOff", Reason.IMAGE_PULL_FAILED, True),
        ("CreateContainerError", Reason.CONTAINER_NOT_CREATED, True),
        ("Unschedulable", Reason.UNSCHEDULABLE, True),
        ("ContainerCreating", Reason.POD_NOT_STARTED, False),
    ],
)
def test_why_a_pod_does_not_start(word: str, reason: Reason, failing: bool) -> None:
    pod = replace(POD, waiting=f"{word}: words", waiting_reason=word)
    assert (pod_failures.start_reason(pod), pod_failures.is_start_failure(pod)) == (reason, failing)


def test_a_lost_node_and_a_pod_that_will_not_end_keep_the_gpu() -> None:
    owner = job()
    gone = replace(POD, deleting=True, delete_by=ago(120))
    for view in (
        TurnView(NOW, Policy(), lease(owner), None, owner, pods=(POD,), node_trouble="node node-1 is not ready"),
        TurnView(NOW, Policy(), lease(owner), None, owner, pods=(gone,)),
    ):
        decision = turn.plan(view)
        assert decision.action is None
        assert decision.events[-1].reason in {Reason.NODE_LOST, Reason.POD_STUCK}


def completed(name: str, epochs: int, took: float, *earlier: Attempt, **spec: Any) -> Job:
    """A job whose last attempt ended with so many epochs after so many seconds."""
    last = Attempt(
        number=len(earlier) + 1, pod=name, fence=9, reason=Reason.COMPLETED, epoch=epochs, start_time=ago(100 + took),
        completion_time=ago(100),
    )  # fmt: skip
    return job(name, status={"phase": Phase.SUCCEEDED, "attempts": [*earlier, last]}, **spec)


def seconds(lengths: Lengths, of: Job) -> float | None:
    length = lengths.of(of)
    return None if length is None else length.total_seconds()


def test_a_length_is_epochs_times_the_seconds_per_epoch_of_the_same_training() -> None:
    pace = Lengths([completed("a", 100, 600), completed("b", 200, 2400), completed("c", 50, 100)])
    assert seconds(pace, job(training={"epochs": 50})) == 50 * 6, "the median of 6, 12 and 2 s per epoch"
    assert seconds(pace, job(training={"epochs": 400})) == 400 * 9, "50 epochs are no basis for 400"
    assert seconds(pace, job(training={"epochs": 400, "timeLimit": "1h"})) == 3600


def test_a_short_run_is_no_basis_for_a_long_one() -> None:
    short = Lengths([completed("short", 3, 30)])
    assert seconds(short, job(training={"epochs": 300})) is None
    assert seconds(short, job(training={"epochs": 12})) == 120


def test_other_data_another_model_or_another_namespace_are_no_basis() -> None:
    pace = Lengths([completed("a", 100, 600)])
    assert seconds(pace, job()) == 600
    assert seconds(pace, job(model="yolo26x.pt")) is None
    assert seconds(pace, job(training={"imageSize": 1280})) is None
    assert seconds(pace, job(dataset={"uri": "s3://data/other.zip"})) is None
    stranger = job()
    assert seconds(pace, replace(stranger, key=replace(stranger.key, namespace="other"))) is None
    assert seconds(Lengths([]), job()) is None


def test_what_was_trained_before_an_interruption_is_not_trained_again() -> None:
    first = Attempt(
        number=1, pod="a-1", fence=1, reason=Reason.INTERRUPTED, epoch=60, start_time=ago(900), completion_time=ago(800)
    )
    pace = Lengths([completed("a", 100, 400, first)])
    assert seconds(pace, job()) == 1000, "40 epochs took 400 s"
    assert seconds(pace, job(status={"attempts": [first]})) == 400


def test_jobs_whose_epochs_are_not_known_are_neither_estimated_nor_a_basis() -> None:
    """A continued run has epochs before its first attempt; the other modes have none at all."""
    pace = Lengths([completed("a", 100, 600)])
    half = Attempt(
        number=1, pod="a-1", fence=1, reason=Reason.INTERRUPTED, epoch=60, start_time=ago(900), completion_time=ago(800)
    )
    assert seconds(pace, job(resumeFrom="runs/one")) is None
    assert seconds(pace, job(resumeFrom="runs/one", status={"attempts": [half]})) == 240, "40 epochs are left"
    assert seconds(pace, job(mode="Validate")) is None
    assert seconds(Lengths([completed("b", 100, 60, resumeFrom="runs/one")]), job()) is None


def test_the_wait_is_estimated_from_etas_and_from_what_finished_trainings_took() -> None:
    finished = completed("finished", epochs=100, took=600)
    owner, candidate = running("owner", "gpu-a", 200)
    progress = Progress(epoch=1, epochs=2, summary="1/2", eta=timestamp(NOW + timedelta(seconds=120)))
    trains = replace(owner, status=owner.status.model_copy(update={"progress": progress}))
    waiting = [job("one", priority=2), job("two", priority=1)]

    def starts(*jobs: Job, queue: list[Job] = waiting) -> list[float | None]:
        owners, lengths = {each.key.holder: each for each in jobs}, Lengths(filter(has_trained, jobs))
        places = explain_placement(queue, [candidate], NOW, Policy())
        found = estimated_starts(places, [candidate], owners, lengths, NOW, Policy())
        times = [found.get(each.key.uid) for each in queue]
        return [None if at is None else (parse_time(at) - NOW).total_seconds() for at in times]

    assert starts(trains, finished) == [120, 720]
    assert starts(trains) == [120, None], "how long the first will train is unknown"
    assert starts(owner, finished) == [400, 1000], "no eta yet: begun 200 s ago, 100 epochs take 600 s"
    assert starts(owner) == [None, None]
    told = [job("one", status={"estimated_start_time": timestamp(NOW + timedelta(seconds=100))})]
    assert starts(trains, queue=told) == [100], "it is no news that it moved by 20 s"


@pytest.mark.parametrize(
    ("said", "remedies", "not_said"),
    [
        ('persistentvolumeclaim "data" not found.', ["data does not exist in namespace vision: create"], "podTemplate"),
        ("pod has unbound immediate PersistentVolumeClaims. not found", ["kubectl describe pvc"], "podTemplate"),
        ("1 Insufficient nvidia.com/gpu.", ["no share of the GPU is free"], "podTemplate"),
        ("1 Insufficient cpu, 1 Insufficient nvidia.com/gpu", ["no share of the GPU", "Template.resources"], "taint"),
        ("1 Insufficient memory, 1 node(s) had untolerated taint(s)", ["podTemplate.resources"], "tolerations"),
        ("2 node(s) had untolerated taint(s)", ["spec.podTemplate.tolerations"], "resources"),
        ("1 node(s) were unschedulable, 1 node(s) didn't match Pod's node affinity/selector", ["uncordon"], "taint"),
        ("1 node(s) didn't match Pod's node affinity/selector", ["spec.podTemplate.nodeSelector"], "resources"),
        ("1 node(s) had volume node affinity conflict", ["use storage that can"], "nodeSelector"),
        ("node(s) had a mood", ["free what the scheduler lacks", "spec.podTemplate"], "PersistentVolumeClaim"),
    ],
)
def test_what_the_scheduler_misses_has_its_own_remedy(said: str, remedies: list[str], not_said: str) -> None:
    waiting = f"not scheduled: 0/2 nodes are available: {said}"
    message = pod_failures.start_message(replace(POD, waiting=waiting, waiting_reason="Unschedulable"))
    for remedy in remedies:
        assert remedy in message
    assert not_said not in message
