"""The plan of a Workload's turn, one decision at a time; its model is in tests/property."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from gpu_relay.api.words import ANNOTATION_TRAINING_WINDOWS
from gpu_relay.domain.decision import (
    DeletePod,
    EvictWorkload,
    KeepProof,
    MarkReady,
    Pin,
    RemovePin,
    ReturnLease,
    Unload,
    WithdrawReady,
)
from gpu_relay.domain.objects.checked_workload import CheckedWorkload, CheckEntry
from gpu_relay.domain.objects.demand import PodGpus
from gpu_relay.domain.objects.owner import WORKLOAD, JobKey
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.objects.pod_set import PodSet
from gpu_relay.domain.objects.resident import Hold
from gpu_relay.domain.turn import plan as turn
from gpu_relay.domain.turn.workload_turn import PIN_SETTLES
from gpu_relay.domain.turn_view import ProvenGpu, TurnView
from tests.support import builders
from tests.support.builders import FENCE, FREE_MIB

KEY = JobKey("vision", "job-a", "uid-a", WORKLOAD)
HOLD = Hold(KEY.holder, FENCE, 60.0)
ONE = (PodSet("main"),)
PENDING = CheckEntry("gpu-relay", "Pending")
READY = CheckEntry("gpu-relay", "Ready", "", frozenset({("gpu-1", FENCE)}), FREE_MIB)


def workload(entry: CheckEntry | None = PENDING, **fields: Any) -> CheckedWorkload:
    made = CheckedWorkload(KEY, "5", "2026-01-01T11:00:00Z", entry, need_mib=10_240, reserved=True, pod_sets=ONE)
    return replace(made, **fields)


def view(one: CheckedWorkload | None, **fields: Any) -> TurnView:
    """Return a Workload's turn whose resident is held, and whose memory is proven."""
    held = builders.resident(builders.report(hold=HOLD))
    proven = {"samples": (FREE_MIB,) * 3, "host": "node-1.example", "lease": builders.lease(KEY), "resident": held}
    return builders.view(job=None, workload=one, **{**proven, **fields})


def pod(**fields: Any) -> TrainingPod:
    return builders.pod(**{"job_uid": "", "workload_uid": KEY.uid, **fields})


def test_ready_names_node_and_gpu_after_the_proof() -> None:
    action = turn.plan(view(workload())).action
    assert isinstance(action, MarkReady)
    [pin] = action.pins
    assert pin == Pin("main", (ProvenGpu("gpu-1", FENCE, "GPU-1", "node-1", "node-1.example", FREE_MIB),))
    assert "14,910 MiB measured, 10,240 MiB needed" in action.message


def test_nothing_is_ready_without_proof_hold_or_node() -> None:
    assert turn.plan(view(workload(), samples=(FREE_MIB,) * 2)).action is None
    loaded = builders.resident(builders.report(loaded=True))
    asked = turn.plan(view(workload(), resident=loaded, samples=()))
    assert isinstance(asked.action, Unload)
    assert asked.note.startswith("asking resident")
    assert "kubernetes.io/hostname" in turn.plan(view(workload(), host="")).note


def test_an_old_pod_of_the_same_owner_delays_ready() -> None:
    decision = turn.plan(view(workload(), pods=(pod(fence=FENCE - 1, deleting=True),)))
    assert decision.action is None
    assert "waits until vision/digits-1 has ended" in decision.note


def test_the_hold_is_renewed_while_the_pod_runs() -> None:
    runs = view(workload(READY, admitted=True), pods=(pod(),))
    assert turn.plan(runs).action is None
    due = replace(runs, resident=builders.resident(builders.report(hold=replace(HOLD, expires_in_seconds=30))))
    assert isinstance(turn.plan(due).action, Unload)


def test_an_evicted_workload_keeps_the_gpu_while_a_pod_ends() -> None:
    evicted = view(workload(evicted=True), pods=(pod(deleting=True),))
    assert turn.plan(evicted).action is None
    stays = replace(evicted, pods=(pod(),), stopped_for=31.0)
    assert isinstance(turn.plan(stays).action, DeletePod), "Kueue or the Job controller does not act"
    assert isinstance(turn.plan(replace(evicted, pods=())).action, ReturnLease)


def test_the_memory_is_measured_before_the_lease_goes_back() -> None:
    used = builders.resident(builders.report(hold=HOLD, used=9_000))
    ended = view(None, remembered_proof=FREE_MIB, resident=used)
    assert turn.plan(ended).action is None
    assert isinstance(turn.plan(replace(ended, podless_for=31.0)).action, ReturnLease), "for no longer than that"
    silent = view(None, resident=builders.resident(None))
    assert turn.plan(silent).action is None, "what is not measured is not free"


def test_no_pod_may_appear_when_the_lease_goes_back() -> None:
    """The label by which the pods find the node is removed, and the scheduler and the kubelet must see that."""
    pinned = view(None, is_pinned=True, pod_may_appear=True)
    assert turn.plan(pinned).action == RemovePin("node-1")
    settles = turn.plan(replace(pinned, is_pinned=False))
    assert (settles.action, settles.requeue_after) == (None, PIN_SETTLES)
    assert isinstance(turn.plan(replace(pinned, is_pinned=False, pod_may_appear=False)).action, ReturnLease)
    assert turn.plan(replace(pinned, podless_for=121.0)).action == RemovePin("node-1"), (
        "the label is removed in any case"
    )
    assert isinstance(turn.plan(replace(pinned, podless_for=151.0)).action, ReturnLease), "the node refuses (law 9)"


def test_the_gpu_goes_back_while_kueue_is_down() -> None:
    """Kueue's webhook refuses the eviction. No pod can appear without the label."""
    runs = view(workload(READY, admitted=True), is_pinned=True, pod_may_appear=True, podless_for=121.0)
    assert isinstance(turn.plan(runs).action, EvictWorkload)
    refused = replace(runs, podless_for=126.0)
    assert turn.plan(refused).action == RemovePin("node-1")
    assert isinstance(turn.plan(replace(refused, is_pinned=False, pod_may_appear=False)).action, ReturnLease)


def test_the_label_is_removed_while_the_pods_of_a_stopped_workload_end() -> None:
    evicted = view(workload(evicted=True), pods=(pod(deleting=True),), is_pinned=True, pod_may_appear=True)
    assert turn.plan(evicted).action == RemovePin("node-1")
    ended = replace(evicted, workload=workload(finished=True), pods=())
    assert turn.plan(ended).action == RemovePin("node-1"), "the node is left as it was"
    settles = replace(ended, is_pinned=False)
    assert isinstance(turn.plan(settles).action, ReturnLease), "a Workload that has finished creates no pod"


def test_a_pod_that_finds_no_node_keeps_no_gpu() -> None:
    """While Kueue is down, the Job controller creates pods for a Job that the operator could not stop."""
    stranded = pod(node="", phase="Pending", waiting="not scheduled: no node matches")
    stopped = view(workload(evicted=True), pods=(stranded,), pod_may_appear=True)
    assert turn.plan(stopped).action is None
    assert isinstance(turn.plan(replace(stopped, pod_may_appear=False)).action, ReturnLease)
    other = view(workload(), pods=(replace(stranded, workload_uid="uid-b"),), pod_may_appear=True)
    assert isinstance(turn.plan(other).action, MarkReady), "the pod of another turn"
    former = view(workload(), pods=(replace(stranded, fence=FENCE - 1),), pod_may_appear=True)
    assert isinstance(turn.plan(former).action, MarkReady)
    placed = pod(fence=FENCE - 1, node="node-1")
    assert turn.plan(replace(former, pods=(placed,))).action == DeletePod(placed)


def test_a_turn_that_kueue_has_stopped_ends_though_it_reserves_quota_again() -> None:
    """Otherwise a Workload that gives way would take the GPU again before anybody else."""
    again = view(workload(), has_ended=True)
    assert turn.plan(view(workload())).action is not None
    assert isinstance(turn.plan(again).action, ReturnLease)
    assert turn.plan(replace(again, pods=(pod(deleting=True),))).action is None
    assert isinstance(turn.plan(replace(again, workload=workload(READY))).action, WithdrawReady)
    running = workload(READY, admitted=True)
    assert isinstance(turn.plan(replace(again, workload=running)).action, EvictWorkload)


def test_ready_without_a_right_is_withdrawn_first() -> None:
    withdrawn = view(workload(READY, reserved=False))
    assert isinstance(turn.plan(withdrawn).action, WithdrawReady)
    down = replace(withdrawn, podless_for=121.0)
    assert isinstance(turn.plan(down).action, ReturnLease), "the write fails; the resident gets its GPU (law 9)"
    other = view(workload(replace(READY, turns=frozenset({("gpu-1", FENCE - 1)})), admitted=True))
    assert isinstance(turn.plan(other).action, EvictWorkload), "its pods would be pinned to a former turn"


def test_a_workload_without_a_pod_is_evicted_and_pauses() -> None:
    action = turn.plan(view(workload(READY, admitted=True), podless_for=121.0)).action
    assert isinstance(action, EvictWorkload)
    assert action.pauses


def test_a_workload_without_a_pod_is_evicted_when_its_gpu_is_gone() -> None:
    """The Job controller would create its pod on the node, beside the owner of the GPU that is there now."""
    running = workload(READY, admitted=True)
    stop = turn.plan(view(running, resident=None)).action
    assert isinstance(stop, EvictWorkload)
    assert "no resident reports GPU gpu-1" in stop.message
    assert turn.plan(view(running, resident=None, pods=(pod(),))).action is None


def test_it_yields_only_where_it_says_so_and_another_waits() -> None:
    lease = builders.lease(KEY, out_since=builders.ago(3_600), acquired=builders.ago(3_600))
    runs = view(workload(READY, admitted=True, yields=True), pods=(pod(),), lease=lease)
    assert turn.plan(runs).action is None, "no job waits"
    waited_for = replace(runs, successor="vision/other")
    assert isinstance(turn.plan(waited_for).action, EvictWorkload)
    stubborn = replace(waited_for, workload=workload(READY, admitted=True))
    assert turn.plan(stubborn).action is None
    limited = workload(READY, admitted=True, max_outage=timedelta(minutes=59))
    assert isinstance(turn.plan(replace(waited_for, workload=limited)).action, EvictWorkload)


def test_it_yields_at_the_end_of_a_training_window() -> None:
    """The builders' time is a Thursday."""
    held = builders.resident(builders.report(hold=HOLD), annotations={ANNOTATION_TRAINING_WINDOWS: "Fri"})
    runs = view(workload(READY, admitted=True, yields=True), pods=(pod(),), resident=held)
    stop = turn.plan(runs).action
    assert isinstance(stop, EvictWorkload)
    assert "the training window" in stop.message
    assert turn.plan(replace(runs, workload=workload(READY, admitted=True))).action is None, "it finishes"
    is_open = replace(held, annotations={ANNOTATION_TRAINING_WINDOWS: "Thu"})
    assert turn.plan(replace(runs, resident=is_open)).action is None


def test_a_turn_that_cannot_succeed_ends_without_a_pod() -> None:
    lease = builders.lease(KEY, unused_since=builders.ago(200))
    decision = turn.plan(view(workload(), lease=lease, samples=(3_000,)))
    assert isinstance(decision.action, ReturnLease)
    assert "has lost its GPU: 3,000 MiB free" in decision.note


def proven(number: int, node: str) -> ProvenGpu:
    return ProvenGpu(f"gpu-{number}", FENCE + number, f"GPU-{number}", node, f"{node}.example", FREE_MIB - number)


def test_the_last_proof_of_several_makes_all_ready() -> None:
    sets = (PodSet("launcher", PodGpus(1, 0)), PodSet("master"), PodSet("worker", PodGpus(1, 2)))
    one = view(workload(pod_sets=sets), owned_gpus=3)
    first = turn.plan(one)
    assert first.action == KeepProof(replace(proven(1, "node-1"), fence=FENCE, free_mib=FREE_MIB))
    assert not first.note, "the GPUs without a proof say what the Workload waits for"
    action = turn.plan(replace(one, proven_others=(proven(2, "node-2"), proven(3, "node-2")))).action
    assert isinstance(action, MarkReady)
    assert [(pin.pod_set, [each.gpu for each in pin.gpus], pin.gpus[0].host) for pin in action.pins] == [
        ("master", ["gpu-1"], "node-1.example"),
        ("worker", ["gpu-2", "gpu-3"], "node-2.example"),
    ]
    assert action.proven_mib == FREE_MIB - 3, "the least"


def test_a_spread_pod_set_is_pinned_to_all_of_its_nodes() -> None:
    sets = (PodSet("master"), PodSet("worker", PodGpus(2, 1)))
    one = view(workload(pod_sets=sets), owned_gpus=3)
    action = turn.plan(replace(one, proven_others=(proven(2, "node-2"), proven(3, "node-3")))).action
    assert isinstance(action, MarkReady)
    master, worker = action.pins
    assert (master.pod_set, len(master.nodes)) == ("master", 1)
    assert (worker.pod_set, len(worker.nodes)) == ("worker", 2)
    assert {each.gpu for pin in action.pins for each in pin.gpus} == {"gpu-1", "gpu-2", "gpu-3"}
    later = replace(worker, gpus=tuple(replace(each, fence=each.fence + 1) for each in worker.gpus))
    assert later.node_label != worker.node_label, "a label of an earlier turn selects no node"


def test_a_turn_without_all_of_its_gpus_ends() -> None:
    both = (PodSet("main", PodGpus(1, 2)),)
    incomplete = view(workload(pod_sets=both), owned_gpus=1)
    taking = replace(incomplete, lease=replace(incomplete.lease, acquired=builders.ago(5)))
    assert turn.plan(taking).action is None, "the other Lease may still be taken"
    crashed = turn.plan(replace(incomplete, lease=replace(incomplete.lease, acquired=builders.ago(20))))
    assert isinstance(crashed.action, ReturnLease)
    assert crashed.note == "has lost its GPU: has 1 of its 2 GPUs"
    runs = replace(incomplete, workload=workload(READY, pod_sets=both, admitted=True), pods=(pod(),))
    assert isinstance(turn.plan(runs).action, EvictWorkload), "nothing renews the hold of the other GPU"


def test_a_workload_is_evicted_when_its_node_has_lost_the_label() -> None:
    """The node was replaced, or somebody has removed the label: the pod finds no node, and SAM3 waits for nothing."""
    entry = replace(READY, node_labels=frozenset({"abc"}))
    waits = pod(node="", phase="Pending", waiting="not scheduled: no node matches", created=builders.ago(20))
    lost = view(workload(entry, admitted=True), pods=(waits,), is_pinned=True, pod_may_appear=True, node_label="")
    stop = turn.plan(lost).action
    assert isinstance(stop, EvictWorkload)
    assert stop.message == "node node-1 has lost its label gpurelay.dev/pin, by which its pods find it"
    for kept in (
        replace(lost, node_label="abc"),
        replace(lost, node_label=None),
        replace(lost, pods=(replace(waits, created=builders.ago(10)),)),
        replace(lost, pods=(pod(node="node-1"),)),
    ):
        assert turn.plan(kept).action is None
