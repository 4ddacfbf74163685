"""Workloads of Kueue among the jobs: who owns the GPU, who waits, and why."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from gpu_relay.domain.objects.event import JobEvent, job_event_of
from gpu_relay.domain.objects.listed_workload import ListedWorkload, listed_workload_of
from gpu_relay.overview.gpus import gpus_of
from gpu_relay.overview.jobs import jobs_of
from gpu_relay.overview.snapshot import ClusterSnapshot
from gpu_relay.overview.timeline import PastTurn, timeline_of
from kubectl_relay.show.console import output
from kubectl_relay.show.data import dumped
from kubectl_relay.show.gpus import gpu_cards
from kubectl_relay.show.jobs import show_jobs
from kubectl_relay.show.timeline import show_timeline
from kubectl_relay.views.explain_workload import explain_workload
from tests.unit.kubectl_relay.relay_workloads import (
    OTHERS_ARE_AHEAD,
    finished,
    in_turn,
    leased,
    on_two_gpus,
    raw_workload,
    workload,
)
from tests.unit.kubectl_relay.relay_world import GPU, NOW, ago, lease, queued, report, resident, training


def printed(show: Callable[[Console], None]) -> list[str]:
    file = io.StringIO()
    show(Console(file=file, width=140, highlight=False, markup=False))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def table(snapshot: ClusterSnapshot) -> list[str]:
    file = io.StringIO()
    show_jobs(output(file), jobs_of(snapshot), snapshot)
    return file.getvalue().splitlines()


def cards(snapshot: ClusterSnapshot) -> list[str]:
    return printed(lambda console: console.print(gpu_cards(snapshot)))


def began(owner: ListedWorkload, reason: str = "GPULeased", *, minutes: float = 5, **facts: str) -> JobEvent:
    annotations = {
        "gpurelay.dev/gpu": GPU, "gpurelay.dev/node": "node-1", "gpurelay.dev/fence": "7",
        "gpurelay.dev/workload": owner.key.name, "gpurelay.dev/workload-uid": owner.key.uid,
    }  # fmt: skip
    return job_event_of(
        {
            "metadata": {"name": "e", "namespace": "vision", "annotations": annotations | facts},
            "involvedObject": {"kind": "Job", "name": "my-training", "uid": "job-my-training"},
            "reason": reason, "message": "said so", "type": "Normal", "eventTime": ago(minutes=minutes).isoformat(),
        }
    )  # fmt: skip


def test_a_table_has_workloads_among_the_jobs_in_the_operators_order() -> None:
    late = workload("late", priority=-1)
    jobs = (queued("digits", 2), training("running", fence=6))
    snapshot = ClusterSnapshot(
        NOW, jobs, workloads=(late, workload(minutes=40), finished("done")), leases={GPU: lease(jobs[1])}
    )
    assert [re.split(" {2,}", line) for line in table(snapshot)] == [
        ["JOB", "PHASE", "REASON", "POSITION", "EPOCH", "ETA", "AGE"],
        ["vision/running", "Training", "TrainingRunning", "12/100", "ends in 10m 00s", "30m 00s"],
        ["Job vision/my-training", "Queued", OTHERS_ARE_AHEAD, "1", "40m 00s"],
        ["vision/digits", "Queued", "WaitingInQueue", "2", "30m 00s"],
        ["Job vision/late", "Queued", OTHERS_ARE_AHEAD, "3", "20m 00s"],
        ["Job vision/done", "Succeeded", "Completed", "ended 20m 00s ago", "20m 00s"],
    ]


def test_a_card_names_the_job_of_the_workload_that_owns_the_gpu() -> None:
    owner, next_one = in_turn(), workload("next", owner="RayJob")
    snapshot = ClusterSnapshot(
        NOW, workloads=(owner, next_one), leases=leased(owner), residents=(resident(allowed_namespaces="*"),)
    )
    assert cards(snapshot) == [
        "● gpu-1  on node-1",
        "  owner     Job vision/my-training for 4m 00s (since 11:56:00), Training",
        "  memory    not measured now; 10,240 MiB granted to the job; 14,910 MiB were measured free before",
        "  resident  unloaded (according to the Lease), unavailable for 4m 00s  gpu-relay/sam3",
        f"  queue     1  RayJob vision/next  needs 10,240 MiB  {OTHERS_ARE_AHEAD}",
    ]


def test_without_leases_the_check_shows_the_owner() -> None:
    (gpu,) = gpus_of(
        ClusterSnapshot(NOW, (training(fence=5),), workloads=(in_turn(),), residents=(resident(report()),))
    )
    assert gpu.owner is not None and gpu.owner.represents is not None
    assert (gpu.owner.represents.name, gpu.owner.since, gpu.model) == ("my-training", ago(minutes=4), "Tesla T4")


def test_an_owner_that_may_not_be_read_is_a_workload() -> None:
    line = cards(ClusterSnapshot(NOW, leases=leased(in_turn())))[1]
    assert line.startswith("  owner     Workload vision/job-my-training-1a2b3 for 4m 00s")
    (gpu,) = gpus_of(ClusterSnapshot(NOW, leases=leased(in_turn()), events=(began(in_turn()),)))
    assert gpu.owner is not None and gpu.owner.represents is not None
    assert gpu.owner.represents.name == "my-training", "an Event of its turn names the Job"


@pytest.mark.parametrize(
    ("listed", "owns", "phase", "reason"),
    [
        (workload(), True, "Acquiring", ""),
        (in_turn(), True, "Training", ""),
        (in_turn(fence=6), True, "Acquiring", ""),
        (finished(), True, "Releasing", ""),
        (finished(), False, "Succeeded", "Completed"),
        (finished(reason="Failed"), False, "Failed", "Failed"),
        (workload(conditions={}), False, "Queued", "WaitingForKueue"),
        (workload(conditions={"Evicted": "Preempted"}), False, "Queued", "WaitingForKueue"),
        (workload(active=False), False, "Suspended", "Suspended"),
        (workload(annotations={}), False, "Queued", ""),
    ],
)
def test_the_phase_follows_from_lease_check_and_conditions(
    listed: ListedWorkload, owns: bool, phase: str, reason: str
) -> None:
    (line,) = jobs_of(ClusterSnapshot(NOW, workloads=(listed,), leases=leased(listed) if owns else {GPU: lease()}))
    assert (line.phase, line.reason) == (phase, reason)
    assert line.message


def test_a_position_needs_the_whole_queue() -> None:
    whole = ClusterSnapshot(NOW, workloads=(workload(),))
    parts = (replace(whole, everywhere=False), replace(whole, all_workloads=False))
    assert [jobs_of(each)[0].position for each in (whole, *parts)] == [1, None, None]


def test_one_that_fits_no_gpu_waits_for_none() -> None:
    huge = workload(message="no GPU suits this job: Tesla T4 on node-1 has at most 14,654 MiB")
    lines = cards(ClusterSnapshot(NOW, workloads=(huge,), residents=(resident(report(), allowed_namespaces="*"),)))
    assert "  no GPU suits  Job vision/my-training (10,240 MiB)" in lines
    assert "  queue     empty" in lines


def test_a_workload_of_another_check_is_left_out() -> None:
    assert listed_workload_of(raw_workload(check="other"), {"gpu-relay"}) is None
    mine = raw_workload()
    mine["metadata"]["labels"] = {"gpurelay.dev/job-uid": "u"}
    assert listed_workload_of(mine, {"gpu-relay"}) is None, "the YoloTrainingJob itself is shown"


def test_without_the_names_of_checks_the_annotation_counts() -> None:
    assert listed_workload_of(raw_workload(annotations={}), None) is None
    listed = listed_workload_of(raw_workload(), None)
    assert listed is not None and listed.message == OTHERS_ARE_AHEAD
    several = raw_workload()
    several["status"]["admissionChecks"].append({"name": "other", "state": "Pending", "message": "m"})
    unknown = listed_workload_of(several, None)
    assert unknown is not None and unknown.message == "", "either check could be the operator's"


def test_a_timeline_has_the_turns_of_workloads() -> None:
    owner = in_turn()
    snapshot = ClusterSnapshot(NOW, workloads=(owner,), leases=leased(owner), events=(began(owner),))
    lines = printed(lambda console: show_timeline(console, timeline_of(snapshot)))
    assert "  A  Job vision/my-training  11:55:00  now  5m 00s" in lines


def turn(snapshot: ClusterSnapshot) -> PastTurn:
    ((found,),) = (line.turns for line in timeline_of(snapshot).gpus)
    return found


def test_a_finished_workloads_turn_has_its_end() -> None:
    found = turn(ClusterSnapshot(NOW, workloads=(finished(minutes=2),), leases={GPU: lease(fence=8)}))
    assert (found.begin, found.begin_is_exact, found.end) == (ago(minutes=4), False, ago(minutes=2))
    assert (found.reason, found.over) == ("Succeeded", True)


def test_the_events_of_a_deleted_workload_keep_its_turn() -> None:
    gone = workload()
    events = (began(gone), began(gone, "GPUReturned", minutes=3, **{"gpurelay.dev/outcome": "Deleted"}))
    found = turn(ClusterSnapshot(NOW, events=events, leases={GPU: lease(fence=7)}))
    assert (found.begin, found.end, found.reason) == (ago(minutes=5), ago(minutes=3), "Deleted")
    assert found.represents is not None and found.represents.name == "my-training"


def test_a_timeline_of_one_owner_leaves_the_others_out() -> None:
    owner = in_turn()
    jobs = (training(fence=6),)
    snapshot = ClusterSnapshot(NOW, jobs, workloads=(owner,), leases=leased(owner))
    assert [each.job for line in timeline_of(snapshot, only=owner.key).gpus for each in line.turns] == [owner.key]


def test_a_workload_owns_each_of_its_gpus() -> None:
    owner = on_two_gpus()
    leases = {gpu: replace(leased(owner)[GPU], name=gpu, gpu=gpu) for gpu in (GPU, "gpu-2")}
    for known in (leases, None):
        snapshot = ClusterSnapshot(NOW, workloads=(owner,), leases=known)
        assert [(gpu.key, gpu.owner and gpu.owner.phase, gpu.node) for gpu in gpus_of(snapshot)] == [
            (GPU, "Training", "node-1"), ("gpu-2", "Training", "node-1"),
        ]  # fmt: skip
        assert [(line.gpu, len(line.turns)) for line in timeline_of(snapshot).gpus] == [(GPU, 1), ("gpu-2", 1)]
        (line,) = jobs_of(snapshot)
        assert (line.gpu, line.node) == (f"{GPU},gpu-2", "node-1")


def test_one_that_waits_hears_who_is_before_it_and_who_has_the_gpu() -> None:
    owner, mine = in_turn("first"), workload()
    snapshot = ClusterSnapshot(
        NOW, (queued("urgent", 1, spec={"priority": 5}),), workloads=(owner, mine), leases=leased(owner)
    )
    found = explain_workload(snapshot, mine)
    assert found.headline == "Job vision/my-training waits for a GPU: number 2 in the queue."
    assert found.why == (
        "Waits for a GPU with 10,240 MiB: others are ahead, or none is free.",
        "It has waited for 20m 00s.",
        "Before it in the queue: vision/urgent (priority 5); its own priority is 0.",
        "GPU gpu-1 on node-1 is owned by Job vision/first since 11:56:00, Training.",
    )
    assert found.change[0] == "It moves up when a job before it ends, is suspended or is deleted."


def test_an_explanation_has_conditions_and_events_in_order() -> None:
    owner = in_turn()
    found = explain_workload(
        ClusterSnapshot(NOW, workloads=(owner,), leases=leased(owner), events=(began(owner),)), owner
    )
    assert found.headline == "Job vision/my-training has its turn: Kueue may run its pod."
    texts = [each.text for each in found.history]
    assert (texts[0], texts[-1]) == ("created", "GPULeased: said so")


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        (workload(annotations={"gpurelay.dev/gpu-memory": "lots"}), "Correct the pod template"),
        (workload(message="no GPU suits this job: x"), "Ask for less in the annotation gpurelay.dev/gpu-memory"),
        (workload(conditions={}), "Kueue admits it when quota"),
        (workload(active=False), "spec.active: true"),
        (in_turn(), "`kubectl -n vision describe workload job-my-training-1a2b3`"),
    ],
)
def test_an_explanation_says_what_would_change_it(listed: ListedWorkload, said: str) -> None:
    leases = leased(listed) if listed.is_pinned else {}
    found = explain_workload(ClusterSnapshot(NOW, workloads=(listed,), leases=leases), listed)
    assert found.change[0].startswith(said)


def test_programs_get_the_kind_and_the_name_of_the_job() -> None:
    snapshot = ClusterSnapshot(NOW, (training(),), workloads=(workload(),))
    mine, other = json.loads(dumped(jobs_of(snapshot), "json"))[::-1]
    assert mine["job"]["kind"] == "workload"
    assert mine["represents"] == {
        "kind": "Job",
        "name": "my-training",
        "apiVersion": "batch/v1",
        "uid": "job-my-training",
    }
    assert "represents" not in other
