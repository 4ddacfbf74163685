"""Reading a Workload of Kueue that has the operator's admission check."""

from datetime import timedelta
from typing import Any

import pytest

from gpu_relay.domain.decision import EvictWorkload, WithdrawReady
from gpu_relay.domain.kueue.check import Admit, Note, answer, is_news
from gpu_relay.domain.objects.checked_workload import CheckedWorkload, checked_workload_of, with_pod
from gpu_relay.domain.objects.demand import PodGpus

CHECKS = {"gpu-relay"}


def raw(
    conditions: tuple[str, ...] = ("QuotaReserved",),
    state: str = "Pending",
    annotations: dict[str, Any] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    template = {
        "metadata": {"annotations": {"gpurelay.dev/gpu-memory": "10Gi"} if annotations is None else annotations},
        "spec": {
            "nodeSelector": {"zone": "a"},
            "containers": [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": "1"}}}],
        },
    }
    update = {
        "name": "main",
        "labels": {"gpurelay.dev/gpu": "gpu-1", "gpurelay.dev/fence": "7"},
        "annotations": {"gpurelay.dev/proven-free-mib": "14000"},
    }
    return {
        "metadata": {
            "namespace": "team", "name": "job-a", "uid": "u", "resourceVersion": "5",
            "creationTimestamp": "2026-01-01T00:00:00Z", **fields.pop("metadata", {}),
        },
        "spec": {"priority": 3, "podSets": [{"name": "main", "count": 1, "template": template}], **fields},
        "status": {
            "conditions": [
                {"type": each, "status": "True", "lastTransitionTime": "2026-01-01T01:00:00Z"} for each in conditions
            ],
            "admission": {"podSetAssignments": [{"name": "main", "flavors": {"nvidia.com/gpu": "t4"}}]},
            "admissionChecks": [{"name": "other"}, {"name": "gpu-relay", "state": state, "podSetUpdates": [update]}],
        },
    }  # fmt: skip


def read(*args: Any, **fields: Any) -> CheckedWorkload:
    return checked_workload_of(raw(*args, **fields), CHECKS)


def test_a_workload_is_read() -> None:
    one = read(
        annotations={"gpurelay.dev/gpu-memory": "4Gi", "gpurelay.dev/yield": "true", "gpurelay.dev/max-outage": "1h"}
    )
    assert (one.key.holder, one.priority, one.flavors) == ("workload/team/job-a/u", 3, ("t4",))
    assert (one.demand.need_mib, one.demand.node_labels) == (4096, frozenset({("zone", "a")}))
    assert (one.yields, one.max_outage, one.queued_since) == (True, timedelta(hours=1), "2026-01-01T01:00:00Z")
    assert one.waits
    assert one.entry is not None and one.entry.name == "gpu-relay"


def test_an_old_pin_of_a_pending_check_proves_nothing() -> None:
    pending, ready = read().entry, read(state="Ready").entry
    assert pending is not None and ready is not None
    assert not pending.pins("gpu-1", 7)
    assert ready.pins("gpu-1", 7)
    assert not ready.pins("gpu-1", 8) and not ready.pins("gpu-2", 7)


@pytest.mark.parametrize(
    ("conditions", "fields", "stop"),
    [
        (("QuotaReserved", "Admitted"), {}, ""),
        (("QuotaReserved", "Admitted", "Finished"), {}, "it has finished"),
        (("QuotaReserved", "Evicted"), {}, "Kueue has evicted it"),
        ((), {}, "Kueue has reserved no quota for it"),
        (("QuotaReserved",), {"active": False}, "it is deactivated"),
        (("QuotaReserved",), {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, "it is being deleted"),
    ],
)
def test_signals_to_stop(conditions: tuple[str, ...], fields: dict[str, Any], stop: str) -> None:
    assert read(conditions, **fields).stop == stop


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ({}, "gpu-memory of the pod template is missing"),
        ({"gpurelay.dev/gpu-memory": "10GB"}, "is '10GB': write it in Mi or Gi"),
        ({"gpurelay.dev/gpu-memory": "1Gi", "gpurelay.dev/gpu": "mine"}, "which the operator sets: remove it"),
    ],
)
def test_a_template_that_cannot_have_a_turn(annotations: dict[str, str], words: str) -> None:
    one = read(annotations=annotations)
    assert words in one.objection
    assert not one.waits


def with_sets(*sets: tuple[int, int, str | None], selectors: tuple[str, ...] = ()) -> CheckedWorkload:
    """Read a Workload with pod sets of so many pods, each with so many GPUs and this annotation."""
    whole = raw()
    whole["spec"]["podSets"] = [
        {
            "name": f"set-{number}",
            "count": pods,
            "template": {
                "metadata": {"annotations": {"gpurelay.dev/gpu-memory": memory} if memory else {}},
                "spec": {
                    "nodeSelector": {"zone": selectors[number]} if selectors else {},
                    "containers": [{"name": "x", "resources": {"limits": {"nvidia.com/gpu": gpus} if gpus else {}}}],
                },
            },
        }
        for number, (pods, gpus, memory) in enumerate(sets)
    ]
    return checked_workload_of(whole, CHECKS)


def test_several_pod_sets_are_read() -> None:
    one = with_sets((1, 0, None), (1, 1, "4Gi"), (2, 4, "6Gi"))
    assert one.waits
    sizes = (PodGpus(1, 0), PodGpus(1, 1), PodGpus(2, 4))
    assert (one.demand.pod_sets, one.demand.total_gpus, one.need_mib) == (sizes, 9, 6144)
    assert [each.name for each in one.pod_sets] == ["set-0", "set-1", "set-2"]
    assert with_sets((1, 0, "4Gi")).demand.pod_sets == (PodGpus(),), "the only pod may have its GPU by a ResourceClaim"


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (with_sets((2, 0, "4Gi")), "has no pod that requests a GPU"),
        (with_sets((1, 1, "4Gi"), (1, 1, None)), "is missing"),
        (with_sets((9, 8, "4Gi")), "requests 72 GPUs, and may have at most 64"),
        (with_sets((1, 1, "4Gi"), (1, 1, "4Gi"), selectors=("a", "b")), "different node selectors"),
    ],
)
def test_pod_sets_that_cannot_be_placed(one: CheckedWorkload, words: str) -> None:
    assert words in one.objection
    assert not one.waits


def test_partial_admission_counts() -> None:
    whole = raw()
    whole["spec"]["podSets"][0]["count"] = 4
    whole["status"]["admission"]["podSetAssignments"][0]["count"] = 3
    assert checked_workload_of(whole, CHECKS).demand.pod_sets == (PodGpus(3, 1),)


@pytest.mark.parametrize("state", ["Pending", "Ready"])
def test_a_workload_whose_pods_have_ended_needs_no_turn(state: str) -> None:
    """Kueue reserves quota for none of them, and resumes the job only after the check is Ready (chaos 9700020)."""
    whole = raw(state=state)
    whole["status"]["admission"]["podSetAssignments"][0]["count"] = 0
    one = checked_workload_of(whole, CHECKS)
    assert one.pods_have_ended
    assert not one.waits
    found = answer(one, owns_gpu=False, waits_for="")
    assert found == (
        Admit(one, "its pods that request a GPU have ended: it needs no turn") if state == "Pending" else None
    )


def test_a_workload_that_never_requested_a_gpu_has_no_ended_pods() -> None:
    assert not with_sets((2, 0, "4Gi")).pods_have_ended


def test_a_pin_names_every_gpu() -> None:
    whole = raw(state="Ready")
    update = whole["status"]["admissionChecks"][1]["podSetUpdates"][0]
    update["annotations"]["gpurelay.dev/turns"] = "gpu-1=7,gpu-2=9"
    entry = checked_workload_of(whole, CHECKS).entry
    assert entry is not None
    assert entry.pins("gpu-1", 7) and entry.pins("gpu-2", 9)
    assert not entry.pins("gpu-2", 7)


def test_a_plain_pod_has_its_own_annotations() -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "notebook", "controller": True}
    one = read(annotations={}, metadata={"ownerReferences": [owner]})
    assert one.plain_pod == "notebook"
    pod = {"metadata": {"annotations": {"gpurelay.dev/gpu-memory": "2Gi"}}}
    assert (with_pod(one, pod).need_mib, with_pod(one, pod).objection) == (2048, "")
    assert "is missing" in with_pod(one, {}).objection


@pytest.mark.parametrize("part", ["metadata", "spec", "status"])
@pytest.mark.parametrize("value", [None, 1, "x", [], [1], {"podSets": 1, "conditions": 1, "admissionChecks": [1]}])
def test_what_cannot_be_read_is_unknown(part: str, value: Any) -> None:
    one = checked_workload_of({**raw(), part: value}, CHECKS)
    assert part == "metadata" or not one.waits


def test_the_check_answers_outside_a_turn() -> None:
    waiting, ready = read(), read(state="Ready")
    note = answer(waiting, owns_gpu=False, waits_for="others are ahead")
    assert note == Note(waiting, "others are ahead")
    assert answer(waiting, owns_gpu=True, waits_for="x") is None, "its turn answers"
    assert answer(ready, owns_gpu=False, waits_for="") == WithdrawReady(ready), "no Lease is behind it"
    assert answer(ready, owns_gpu=True, waits_for="") is None
    runs = read(("QuotaReserved", "Admitted"), state="Ready")
    assert isinstance(answer(runs, owns_gpu=False, waits_for=""), EvictWorkload)
    assert answer(read(("QuotaReserved", "Finished"), state="Ready"), owns_gpu=False, waits_for="") is None
    withdrawn = read((), state="Ready")
    assert answer(withdrawn, owns_gpu=False, waits_for="") == WithdrawReady(withdrawn), "Kueue keeps it Ready"


def test_a_yolotrainingjob_is_admitted_to_the_operators_queue() -> None:
    own = read(annotations={}, metadata={"labels": {"gpurelay.dev/job-uid": "j"}})
    assert answer(own, owns_gpu=False, waits_for="") == Admit(own)
    assert not own.waits


def test_a_message_changes_rarely() -> None:
    assert not is_news("1,200 MiB free, 10,240 MiB needed", "900 MiB free, 10,240 MiB needed")
    assert is_news("asking resident a/sam3-2", "asking resident a/sam3-1")
