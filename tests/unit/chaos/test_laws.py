"""How the chaos runs judge laws 8 and 9: from times that were observed, without a cluster."""

import json
import time
from dataclasses import replace

import pytest

from tests.chaos.events import EVENTS, WORKLOAD_EVENTS
from tests.chaos.faults import plan_of, plan_with, with_workloads
from tests.chaos.happenings import Happenings, KnownCause
from tests.chaos.intervals import Spans, minus, seconds, union
from tests.chaos.outages import WITHOUT_TRAINING, Outage, Outages
from tests.chaos.scope import is_foreign, shows, visible_list
from tests.chaos.waits import CONSTANT, Waits

GPU = "gpu-1"
HOLDER = "yolotrainingjob/team/digits/uid"


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> float:
    """A fixed moment, which the judges take for the present."""
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    return 1000.0


def test_spans_are_merged_cut_and_summed() -> None:
    assert union([(5, 6), (1, 3), (2, 4)]) == [(1, 4), (5, 6)]
    assert minus([(0, 10)], [(2, 3), (5, 20)]) == [(0, 2), (3, 5)]
    assert minus([(0, 1)], [(0, 1)]) == []
    assert seconds([(0, 2), (1, 4)]) == 4


def outages(*all: Outage, happenings: Happenings | None = None) -> Outages:
    return Outages(happenings or Happenings(), bound=10, all=list(all))


def test_an_outage_without_a_running_pod_is_bounded(now: float) -> None:
    outage = Outage(GPU, HOLDER, 100, 125)
    assert "unloaded for 25.0 s" in outages(outage).verdict({}, [])[0]
    assert outages(outage).verdict({GPU: [(105, 120)]}, []) == [], "it trains between two short stretches"
    assert outages(outage).verdict({"gpu-2": [(105, 120)]}, []), "what trains elsewhere is no excuse"
    never_ended = Outage(GPU, HOLDER, now - 11)
    assert outages(never_ended).verdict({}, []), "no load has been requested yet"
    assert outages(never_ended).verdict({}, [(now - 5, GPU)]) == [], "its GPU went"


def test_faults_excuse_an_outage_while_they_last(now: float) -> None:
    outage = Outage(GPU, HOLDER, 100, 125)
    assert outages(outage, happenings=Happenings(everyone=[(102, 118)])).verdict({}, []) == []
    assert outages(outage, happenings=Happenings(everyone=[(102, 104)])).verdict({}, [])
    assert outages(outage, happenings=Happenings(silent={GPU: [(102, 118)]})).verdict({}, []) == []
    unusable = Happenings(unusable={GPU: [(102, 118)]})
    assert outages(outage, happenings=unusable).verdict({}, []), "a cordoned node is no reason to stay unloaded"


def test_a_cause_that_is_known_beforehand_costs_no_outage(now: float) -> None:
    quota = KnownCause("the quota is full", 100, 110, namespace="team")
    happenings = Happenings(known=[quota])
    needless = Outage(GPU, HOLDER, 105, 106)
    assert "in spite of: the quota is full" in outages(needless, happenings=happenings).verdict({}, [])[0]
    for other in (
        replace(needless, holder="yolotrainingjob/other/digits/uid"),
        replace(needless, holder="workload/team/digits/uid"),
        replace(needless, began=100.5, ended=101),
        replace(needless, began=111, ended=112),
    ):
        assert outages(other, happenings=happenings).verdict({}, []) == []
    cordon = Happenings(known=[KnownCause("its node is cordoned", 100, 110, gpu=GPU)])
    assert outages(needless, happenings=cordon).verdict({}, [])
    assert outages(replace(needless, gpu="gpu-2"), happenings=cordon).verdict({}, []) == []


def test_outages_that_repeat_without_training_are_counted(now: float) -> None:
    cycles = [Outage(GPU, HOLDER, float(at), at + 0.5) for at in range(100, 100 + WITHOUT_TRAINING + 1)]
    assert outages(*cycles[1:]).verdict({}, []) == []
    assert f"{WITHOUT_TRAINING + 1} outages without any running pod" in outages(*cycles).verdict({}, [])[0]
    assert outages(*cycles).verdict({GPU: [(100, 100.2)]}, []) == [], "one of them has trained"


def waits(ended: float | None, happenings: Happenings | None = None) -> Waits:
    ends = {} if ended is None else {"bystander": ended}
    return Waits(happenings or Happenings(), turn=10, began={"bystander": 100}, ended=ends, gpus={GPU: 0})


def judge(
    waits: Waits,
    *,
    running: Spans | None = None,
    own: Spans | None = None,
    gone: list[tuple[float, str]] | None = None,
    others: int = 1,
) -> list[str]:
    """Judge where the GPU is in one turn after another."""
    return waits.verdict({GPU: running or []}, {GPU: [(0, 1000)]}, {"bystander": own or []}, gone or [], others)


def test_a_bystander_waits_for_turns_of_others_and_for_nothing_else(now: float) -> None:
    late = 100 + CONSTANT + 15
    assert judge(waits(late), others=2) == []
    assert "law 8: bystander waited 30.0 s for a GPU that could train" in judge(waits(late), others=1)[0]
    assert judge(waits(None), others=2), "it still waits"
    assert judge(waits(late), running=[(105, 115)]) == [], "the only GPU trained another job"
    assert judge(waits(late), running=[(105, 115)], own=[(105, 115)]) == [], "it trained itself"
    assert judge(waits(now), running=[(101, now)], others=0) == [], "another job trains all the time"


def test_a_bystander_does_not_wait_for_a_free_gpu(now: float) -> None:
    late = waits(100 + CONSTANT + 2)
    assert late.verdict({}, {GPU: [(100, 103)]}, {}, [], others=1) == []
    violations = late.verdict({}, {GPU: [(100, 101)]}, {}, [], others=1)
    assert "law 8: bystander waited 16.0 s for a GPU that no job had" in violations[0]


def test_no_gpu_that_can_train_and_no_operator_excuse_a_wait(now: float) -> None:
    late = 100 + CONSTANT + 15
    two = waits(late)
    two.gpus["gpu-2"] = 0
    assert judge(two, running=[(105, 115)]), "the other GPU was free all the time"
    assert judge(two, running=[(105, 115)], gone=[(101, "gpu-2")]) == []
    assert judge(waits(late, Happenings(unusable={GPU: [(105, 115)]}))) == []
    assert judge(waits(late, Happenings(everyone=[(105, 115)]))) == []


def test_an_operator_sees_only_the_namespaces_of_its_scenario() -> None:
    mine, other, node = ({"metadata": {"name": name, **more}} for name, more in (
        ("a", {"namespace": "seed-1"}), ("b", {"namespace": "seed-2"}), ("node-1", {}),
    ))  # fmt: skip
    listed = json.loads(visible_list(json.dumps({"metadata": {}, "items": [mine, other, node]}).encode(), {"seed-1"}))
    assert [item["metadata"]["name"] for item in listed["items"]] == ["a", "node-1"]
    discovery = json.dumps({"resources": [{"name": "pods"}]}).encode()
    assert visible_list(discovery, {"seed-1"}) == discovery
    shown = [shows(json.dumps({"type": "ADDED", "object": each}).encode(), {"seed-1"}) for each in (mine, other, node)]
    assert shown == [True, False, True]


def test_a_write_to_another_scenario_is_seen() -> None:
    workloads = "/apis/kueue.x-k8s.io/v1beta2/namespaces/{}/workloads/job/status"
    assert not is_foreign(workloads.format("seed-1"), {"seed-1"})
    assert is_foreign(workloads.format("seed-2"), {"seed-1"})
    assert not is_foreign("/api/v1/namespaces", {"seed-1"})


def test_every_event_of_workloads_is_drawn_beside_plain_jobs() -> None:
    plans = [with_workloads(plan_of(seed)) for seed in range(200)]
    assert {name for plan in plans for _, name in plan.events} >= WORKLOAD_EVENTS.keys()
    assert all(1 <= plan.plain <= plan.jobs and plan.quota >= plan.gpus for plan in plans)
    assert {plan.plain < plan.jobs for plan in plans} == {True, False}
    assert all(plan.wide == 0 or (plan.gpus > 1 and plan.wide <= plan.plain) for plan in plans)
    assert {plan.wide > 0 for plan in plans} == {True, False}
    alone = with_workloads(plan_with(7, "Job deleted"), more_events=False)
    assert [name for _, name in alone.events] == ["Job deleted"]


def test_every_event_is_drawn_and_can_be_had_alone() -> None:
    drawn = {name for seed in range(300) for _, name in plan_of(seed).events}
    assert drawn == set(EVENTS)
    for name, event in EVENTS.items():
        plan = plan_with(7, name)
        assert plan == plan_with(7, name)
        assert (plan.calm, [each for _, each in plan.events]) == (True, [name])
        assert plan.gpus >= event.gpus
        assert plan.preparations >= event.preparations
