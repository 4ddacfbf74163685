"""What keeps a job from a GPU: the memory on it, its resident, its node's labels."""

from dataclasses import replace

import pytest

from gpu_relay.api.words import Reason
from gpu_relay.domain.objects.demand import PodGpus
from gpu_relay.domain.objects.owner import WORKLOAD, JobKey
from gpu_relay.domain.objects.resident import CONTEXT_MIB, GpuReport, Hold
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.candidate import (
    blocked_reason,
    context_of,
    filter_reason,
    lends_to,
    most_free_mib,
    pinned_nodes,
    too_full,
)
from tests.support.builders import MODEL_MIB, NOW, RESERVED_MIB, TOTAL_MIB, candidate, job, lease, report, resident

POLICY = Policy(preparations=0)


def loaded(*, used: int = MODEL_MIB, own: int = MODEL_MIB) -> GpuReport:
    """Return a loaded resident's report, in which `own` of the MiB in use are its own."""
    return report(loaded=True, used=used, worker_allocated_mib=own, worker_cap_mib=own)


@pytest.mark.parametrize(
    ("own", "used", "most"),
    [(14_000, 14_000, 14_910), (8_000, 8_500, 14_910), (8_000, 14_000, 9_934), (0, 14_000, None)],
    ids=["all is its own", "its context", "6,000 MiB are others'", "it does not say"],
)
def test_how_much_an_unload_can_free(own: int, used: int, most: int | None) -> None:
    assert most_free_mib(loaded(used=used, own=own), CONTEXT_MIB) == most


def test_a_replaced_gpu_waits_for_the_workload_of_its_node() -> None:
    """Pods of Workloads are pinned to a node: they use the GPU that is there."""
    former = lease(JobKey("vision", "job-a", "uid-a", WORKLOAD), gpu="gpu-1")
    assert pinned_nodes([former], {"gpu-2"}) == {"node-1": "vision/job-a"}
    assert pinned_nodes([former], {"gpu-1", "gpu-2"}) == {}, "its GPU is still there"
    assert pinned_nodes([lease(gpu="gpu-1"), lease(None, gpu="gpu-3")], {"gpu-2"}) == {}, "trainers check their GPU"
    new = candidate(report(), gpu="gpu-2")
    assert blocked_reason(job().demand, new, NOW, POLICY) is None
    found = blocked_reason(job().demand, replace(new, pinned="vision/job-a"), NOW, POLICY)
    assert found is not None
    assert found[0] == Reason.NODE_UNAVAILABLE
    assert found[1] == "Workload vision/job-a has a turn on node node-1, on a GPU that was replaced"


def test_memory_of_others_counts_between_turns_only() -> None:
    full = report(used=6_000)
    found = blocked_reason(job().demand, candidate(full), NOW, POLICY)
    assert found is not None
    assert found[0] == Reason.WAITING_FOR_MEMORY
    assert "8,910 MiB free; 10,240 MiB and a margin of 256 MiB needed" in found[1]
    assert "Other processes hold about 6,000 MiB" in found[1]
    held = replace(full, hold=Hold("someone", 7, 60.0))
    assert blocked_reason(job().demand, candidate(held), NOW, POLICY) is None, "what it holds may be the training's"
    assert too_full(job().demand, candidate(held), POLICY) is not None


def test_a_measured_context_narrows_the_bound() -> None:
    """1,910 MiB are free and 8,000 the resident's model: with a context of up to 1,024 the job would have a place."""
    before = candidate(loaded(used=13_000, own=8_000))
    assert blocked_reason(job().demand, before, NOW, POLICY) is None
    found = blocked_reason(job().demand, replace(before, context_mib=300), NOW, POLICY)
    assert found is not None
    assert found[0] == Reason.WAITING_FOR_MEMORY


@pytest.mark.parametrize(("after", "context"), [(9_910, 0), (10_210, 300), (8_000, None), (14_000, None)])
def test_a_context_is_measured_only_if_nothing_else_changed(after: int, context: int | None) -> None:
    assert context_of(1_910, 8_000, after) == context


def test_a_resident_that_does_not_answer_is_an_obstacle() -> None:
    found = blocked_reason(job().demand, candidate(None), NOW, POLICY)
    assert found is not None
    assert found[0] == Reason.RESIDENT_UNREACHABLE
    assert "no answer within 5 s" in found[1]


def test_unreadable_labels_are_not_missing_labels() -> None:
    selective, unread = job(podTemplate={"nodeSelector": {"gpu": "t4"}}), replace(candidate(loaded()), node_labels=None)
    assert filter_reason(selective.demand, unread, POLICY) is None
    found = blocked_reason(selective.demand, unread, NOW, POLICY)
    assert found is not None
    assert found[0] == Reason.NODE_UNAVAILABLE
    assert blocked_reason(job().demand, unread, NOW, POLICY) is None, "others do not wait for it (law 8)"


@pytest.mark.parametrize(
    ("annotation", "lends"),
    [
        (None, False), ("", False), ("vision", True), (" other , vision ", True), ("*", True),
        ("visionary", False), ("vis*", False), ("VISION", False),
    ],
)  # fmt: skip
def test_a_resident_lends_its_gpu_to_the_named_namespaces(annotation: str | None, lends: bool) -> None:
    annotations = {} if annotation is None else {"gpurelay.dev/allowed-namespaces": annotation}
    lender = resident(annotations=annotations)
    assert lends_to(lender, "vision") is lends
    assert lends_to(lender, "gpu-relay") is True


@pytest.mark.parametrize(
    ("siblings", "labels", "words"),
    [
        (1, {}, "has 2 GPUs, of which the device plugin chooses those of a pod"),
        (0, {"nvidia.com/gpu.count": "2"}, "has 2 GPUs, and residents measure 1 of them"),
    ],
    ids=["residents", "label"],
)
def test_a_workload_gets_no_part_of_a_node(siblings: int, labels: dict[str, str], words: str) -> None:
    """The device plugin may give its pod another GPU than the one whose memory is proven."""
    demand = replace(job().demand, needs_resident=True)
    several = replace(candidate(loaded()), siblings=siblings, node_labels=labels)
    assert filter_reason(demand, replace(several, siblings=0, node_labels={}), POLICY) is None
    assert words in str(filter_reason(demand, several, POLICY))
    assert (filter_reason(replace(demand, pod_sets=(PodGpus(1, 2),)), several, POLICY) is None) == bool(siblings)
    assert filter_reason(job().demand, several, POLICY) is None


def test_a_workload_waits_for_the_labels_of_the_node() -> None:
    unread = replace(candidate(loaded()), node_labels=None)
    found = blocked_reason(replace(job().demand, needs_resident=True), unread, NOW, POLICY)
    assert found is not None
    assert found[0] == Reason.NODE_UNAVAILABLE
    assert blocked_reason(job().demand, unread, NOW, POLICY) is None


def test_what_a_resident_keeps_while_it_is_unloaded_is_promised_to_no_job() -> None:
    keeps = report(residual_mib=3_000)
    most = TOTAL_MIB - RESERVED_MIB - 3_000 - POLICY.margin_mib
    gpu = candidate(keeps)
    demand = job().demand
    assert filter_reason(replace(demand, need_mib=most), gpu, POLICY) is None
    reason = filter_reason(replace(demand, need_mib=most + 1), gpu, POLICY)
    assert reason is not None
    assert f"has at most {most:,} MiB for a job (its resident keeps 3,000 MiB while it is unloaded)" in reason
    held = report(loaded=True, used=12_000, residual_mib=3_000, worker_allocated_mib=12_000)
    assert most_free_mib(held, CONTEXT_MIB) == TOTAL_MIB - RESERVED_MIB - 3_000
