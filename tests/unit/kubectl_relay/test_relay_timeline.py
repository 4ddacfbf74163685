"""Who had a GPU when, and what is not known of it."""

import io
from datetime import timedelta

import pytest
from rich.console import Console

from gpu_relay.api.v1alpha1 import GpuStatus
from gpu_relay.api.words import UNMANAGED_GPU
from gpu_relay.domain.objects.event import JobEvent, job_event_of
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.turn.plan import facts
from gpu_relay.overview.snapshot import ClusterSnapshot
from gpu_relay.overview.timeline import PastTurn, Timeline, timeline_of
from kubectl_relay.show.timeline import show_timeline
from tests.unit.kubectl_relay.relay_world import GPU, NOW, ago, attempt, job, job_event, lease, training


def turns(snapshot: ClusterSnapshot) -> dict[str, list[PastTurn]]:
    return {line.gpu: list(line.turns) for line in timeline_of(snapshot).gpus}


def shown(timeline: Timeline, width: int = 54) -> list[str]:
    file = io.StringIO()
    show_timeline(Console(file=file, width=width, highlight=False, markup=False), timeline)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def ended() -> Job:
    return job(phase="Succeeded", gpu=GpuStatus(node="node-1", uuid="GPU-1"), attempts=[attempt(1, 6)])


def event(name: str = "digits.uid-digi.1526370.16.gpuleased", **annotations: str) -> JobEvent:
    return job_event_of(
        {
            "metadata": {"name": name, "namespace": "vision", "annotations": annotations},
            "involvedObject": {"name": "digits", "uid": "uid-digits"},
            "reason": "GPULeased", "message": "m", "type": "Normal", "eventTime": "2026-01-01T11:00:00.000000Z",
        }
    )  # fmt: skip


def test_an_events_annotations_say_to_which_turn_it_belongs() -> None:
    for gpu, node in ((GPU, "node-1"), (UNMANAGED_GPU, "")):
        read = event("anything", **facts(lease(fence=7, gpu=gpu, node=node)))
        (line,) = timeline_of(ClusterSnapshot(NOW, events=(read,))).gpus
        assert (line.gpu, line.node, line.turns[0].fence) == (gpu, node, 7)


@pytest.mark.parametrize("fence", ["", "-1", "x", "٣", "9" * 5000])
def test_a_fence_that_is_none_belongs_to_no_turn(fence: str) -> None:
    assert event("anything", **{"gpurelay.dev/fence": fence}).turn == 0


def test_an_event_of_an_older_operator_has_its_turn_but_not_its_gpu() -> None:
    old = event()
    assert (old.turn, old.gpu) == (1526370, "")
    found = timeline_of(ClusterSnapshot(NOW, events=(old,)))
    assert [(line.gpu, [turn.fence for turn in line.turns]) for line in found.gpus] == [("", [1526370])]
    assert "The GPU of some turns is no longer on record." in found.unknown
    known = job(phase="Succeeded", gpu=GpuStatus(node="node-1", uuid="GPU-1"), attempts=[attempt(1, 1526370)])
    assert [turn.begin for turn in turns(ClusterSnapshot(NOW, (known,), events=(old,)))[GPU]] == [old.at]


def test_a_turn_from_a_status_alone_lacks_its_exact_beginning() -> None:
    (turn,) = turns(ClusterSnapshot(NOW, (ended(),)))[GPU]
    assert (turn.begin, turn.begin_is_exact, turn.end, turn.reason) == (
        ago(minutes=15), False, ago(minutes=10), "Completed",
    )  # fmt: skip


def test_an_event_and_the_status_make_one_turn() -> None:
    done = ended()
    events = (
        job_event(done, "GPULeased", fence=6, at=ago(minutes=16)),
        job_event(done, "TrainingEnded", fence=6, at=ago(minutes=10)),
        job_event(done, "ResidentLoaded", fence=6, at=ago(minutes=9)),
    )
    (turn,) = turns(ClusterSnapshot(NOW, (done,), events=events))[GPU]
    assert (turn.begin, turn.begin_is_exact, turn.back) == (ago(minutes=16), True, ago(minutes=9))


def test_a_turn_of_less_than_a_second_does_not_end_before_it_begins() -> None:
    """Events have fractions of a second, the status has none."""
    done = ended()
    moment = ago(minutes=10) + timedelta(seconds=0.7)
    leased_then = job_event(done, "GPULeased", fence=6, at=moment)
    (turn,) = turns(ClusterSnapshot(NOW, (done,), events=(leased_then,)))[GPU]
    assert (turn.begin, turn.end) == (moment, moment)
    ended_then = job_event(done, "TrainingEnded", fence=6, at=moment + timedelta(seconds=1))
    (turn,) = turns(ClusterSnapshot(NOW, (done,), events=(leased_then, ended_then)))[GPU]
    assert turn.end == ended_then.at


@pytest.mark.parametrize("reason", ["GPUPassedOn", "Completed", "BackoffLimitExceeded"])
def test_turns_of_deleted_jobs_are_known_by_events(reason: str) -> None:
    gone = job("gone")
    events = (
        job_event(gone, "GPULeased", fence=5, at=ago(minutes=30)),
        job_event(gone, reason, "x" * 1024, fence=5, at=ago(minutes=20), next_job="vision/next"),
    )
    (turn,) = turns(ClusterSnapshot(NOW, events=events))[GPU]
    assert (turn.job.name, turn.end, turn.over, turn.passed_on) == ("gone", ago(minutes=20), True, True)


def test_how_a_deleted_jobs_attempt_ended_is_known_by_its_event() -> None:
    ended_so = job_event(job("gone"), "TrainingEnded", "attempt 1 ended", fence=5, outcome="OutOfMemory")
    (turn,) = turns(ClusterSnapshot(NOW, events=(ended_so,)))[GPU]
    assert (turn.reason, turn.begin, turn.end) == ("OutOfMemory", None, NOW)


def test_a_deleted_job_is_not_the_owner_now_and_hides_no_other() -> None:
    """It was deleted while it trained: no Event records its end."""
    gone = job_event(job("gone"), "GPULeased", fence=5, at=ago(minutes=30))
    after = training("after", fence=7)
    snapshot = ClusterSnapshot(NOW, (after,), leases={GPU: lease(after)}, events=(gone,))
    first, second = turns(snapshot)[GPU]
    assert (first.over, first.end, first.ended_by) == (True, None, ago(minutes=4))
    assert (second.job.name, second.over) == ("after", False)
    text = shown(timeline_of(snapshot), 100)
    assert text[1].strip().endswith("B" * 5)
    assert text[4].split()[:5] == ["A", "vision/gone", "11:30:00", "by", "11:56:00"]
    for nothing_after in (
        ClusterSnapshot(NOW, leases={GPU: lease(fence=5)}, events=(gone,)),
        ClusterSnapshot(NOW, events=(gone,)),
    ):
        (turn,) = turns(nothing_after)[GPU]
        assert turn.over


def test_a_lease_counts_more_than_an_event_with_a_higher_fence() -> None:
    mine = training(fence=7)
    forged = job_event(job("forger"), "GPULeased", fence=10**9, at=ago(minutes=1))
    found = turns(ClusterSnapshot(NOW, (mine,), leases={GPU: lease(mine)}, events=(forged,)))[GPU]
    assert [(turn.job.name, turn.over) for turn in found] == [("digits", False), ("forger", True)]


def test_a_hidden_job_may_still_own_its_gpu() -> None:
    hidden = job_event(job("hidden"), "GPULeased", fence=5, at=ago(minutes=3))
    (turn,) = turns(ClusterSnapshot(NOW, everywhere=False, events=(hidden,)))[GPU]
    assert not turn.over


def test_an_owner_whose_job_cannot_be_seen_is_known_by_the_lease() -> None:
    (turn,) = turns(ClusterSnapshot(NOW, leases={GPU: lease(training("hidden"))}))[GPU]
    assert (turn.job.name, turn.begin, turn.over) == ("hidden", ago(minutes=4), False)


def test_on_which_gpu_old_attempts_were_is_not_guessed() -> None:
    twice = training(attempts=[attempt(1, 5)])
    found = turns(ClusterSnapshot(NOW, (twice,), leases={GPU: lease(twice), "gpu-2": lease(gpu="gpu-2", fence=4)}))
    assert [turn.fence for turn in found[""]] == [5]
    assert [turn.fence for turn in found[GPU]] == [7]


def test_a_fence_that_two_gpus_have_identifies_neither() -> None:
    lonely = job(phase="Queued", attempts=[attempt(1, 6)])
    both = {GPU: lease(fence=6), "gpu-2": lease(gpu="gpu-2", fence=6)}
    assert [turn.fence for turn in turns(ClusterSnapshot(NOW, (lonely,), leases=both))[""]] == [6]
    assert [turn.fence for turn in turns(ClusterSnapshot(NOW, (lonely,), leases={GPU: lease(fence=6)}))[GPU]] == [6]


def test_since_leaves_out_what_had_ended() -> None:
    found = timeline_of(
        ClusterSnapshot(NOW, (ended(), training("now")), leases={GPU: lease(training("now"))}), ago(minutes=8)
    )
    assert [turn.job.name for line in found.gpus for turn in line.turns] == ["now"]
    assert found.begin == ago(minutes=4)


def test_the_chart_shows_turns_gaps_and_the_way_back() -> None:
    done = ended()
    events = (
        job_event(done, "GPULeased", fence=6, at=ago(minutes=16)),
        job_event(done, "ResidentLoaded", fence=6, at=ago(minutes=8)),
    )
    snapshot = ClusterSnapshot(NOW, (done, training("next")), leases={GPU: lease(training("next"))}, events=events)
    chart = shown(timeline_of(snapshot))
    assert chart[0] == "gpu-1  on node-1"
    assert chart[1].strip() == "A" * 19 + "▒" * 6 + "─" * 12 + "B" * 13
    assert chart[2].split() == ["11:44:00", "now"]
