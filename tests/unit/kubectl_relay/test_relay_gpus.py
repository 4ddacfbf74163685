"""The owner of a GPU, by the Lease, a job or the resident."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.leader import LeaderRecord
from gpu_relay.domain.objects.resident import Hold
from gpu_relay.overview.gpus import Gpu, gpus_of
from gpu_relay.overview.snapshot import ClusterSnapshot
from kubectl_relay.show.console import output
from kubectl_relay.show.gpus import gpu_cards
from tests.unit.kubectl_relay.relay_world import GPU, NOW, ago, lease, queued, report, resident, training


def only(snapshot: ClusterSnapshot) -> Gpu:
    (gpu,) = gpus_of(snapshot)
    return gpu


def owner_of(snapshot: ClusterSnapshot) -> str:
    owner = only(snapshot).owner
    return "not known" if owner is None else str(owner.job or "resident")


def shown(snapshot: ClusterSnapshot, width: int = 120) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False, markup=False)
    console.print(gpu_cards(snapshot))
    return [line.rstrip() for line in file.getvalue().splitlines()]


HELD = replace(report(used=10_240, state="unloaded"), hold=Hold(training().key.holder, 7, 50.0))


@pytest.mark.parametrize(
    ("snapshot", "owner"),
    [
        (ClusterSnapshot(NOW, (training(),), leases={GPU: lease(training())}), "vision/digits"),
        (ClusterSnapshot(NOW, leases={GPU: lease(training())}), "vision/digits"),
        (ClusterSnapshot(NOW, (training(),), leases={GPU: lease()}), "resident"),
        (ClusterSnapshot(NOW, (training(),)), "vision/digits"),
        (ClusterSnapshot(NOW, residents=(resident(HELD),)), "vision/digits"),
        (ClusterSnapshot(NOW, residents=(resident(report()),)), "resident"),
        (ClusterSnapshot(NOW, leases={}, residents=(resident(),)), "resident"),
        (ClusterSnapshot(NOW, residents=(resident(),)), "not known"),
        (ClusterSnapshot(NOW, leases={GPU: lease(training())}, residents=(resident(),)), "vision/digits"),
    ],
)
def test_the_lease_counts_first_then_the_job_then_the_hold(snapshot: ClusterSnapshot, owner: str) -> None:
    assert owner_of(snapshot) == owner


def test_a_resident_that_cannot_be_asked_is_judged_by_the_lease() -> None:
    def state(owed: str = "", owner: Job | None = None) -> str:
        gpu = only(ClusterSnapshot(NOW, (training(),), leases={GPU: lease(owner, owed=owed)}, residents=(resident(),)))
        assert gpu.resident is not None
        assert not gpu.resident.measured
        return gpu.resident.state

    assert state() == "loaded"
    assert state(owed="a turn") == "to be loaded"
    assert state(owner=training()) == "unloaded"


def test_an_outage_counts_from_its_first_turn() -> None:
    mine = lease(training(), out_since="2026-01-01T11:30:00Z")
    snapshot = ClusterSnapshot(NOW, (training(),), leases={GPU: mine}, residents=(resident(HELD, max_outage="45m"),))
    assert "  resident  unloaded, unavailable for 30m 00s of at most 45m 00s  gpu-relay/sam3" in shown(snapshot)


def test_what_a_resident_keeps_of_the_gpu_is_shown() -> None:
    snapshot = ClusterSnapshot(NOW, residents=(resident(replace(report(), residual_mib=1_200)),))
    assert "  resident  loaded, keeps 1,200 MiB of the GPU while it is unloaded  gpu-relay/sam3" in shown(snapshot)


def test_a_loaded_resident_is_not_out() -> None:
    back = lease(out_since="2026-01-01T11:30:00Z", served_since="2026-01-01T11:50:00Z")
    gpu = only(ClusterSnapshot(NOW, leases={GPU: back}, residents=(resident(report()),)))
    assert gpu.resident is not None
    assert gpu.resident.out_since is None


def test_the_queue_is_in_order_and_without_those_that_fit_nowhere() -> None:
    jobs = (training(), queued("late", 2), queued("urgent", 1, spec={"priority": 5}), queued("huge", 3, "NoGpuFits"))
    snapshot = ClusterSnapshot(NOW, jobs, leases={GPU: lease(training())})
    assert [waiting.job.name for waiting in only(snapshot).queue] == ["urgent", "late"]
    assert "  no GPU suits  vision/huge (10,240 MiB)" in shown(snapshot)


def test_a_queue_that_was_not_read_is_not_called_empty() -> None:
    known = {GPU: lease(training())}
    assert "  queue     empty" in shown(ClusterSnapshot(NOW, (training(),), leases=known))
    unread = "jobs of other namespaces were not read, and may wait, too"
    assert f"  queue     {unread}" in shown(ClusterSnapshot(NOW, (training(),), everywhere=False, leases=known))
    jobs = (training(), queued("late", 2))
    assert shown(ClusterSnapshot(NOW, jobs, everywhere=False, leases=known))[-1].strip() == unread


def test_gpus_that_may_not_be_seen_are_not_called_unknown() -> None:
    assert shown(ClusterSnapshot(NOW, everywhere=False))[0] == "No GPU can be seen with your rights."
    assert shown(ClusterSnapshot(NOW, leases={}, residents=()))[0].startswith("No GPU is known yet")


def test_a_job_waits_behind_gpus_that_could_serve_it_only() -> None:
    elsewhere = queued("elsewhere", 1, spec={"podTemplate": {"nodeSelector": {"zone": "b"}}})
    stranger = replace(queued("stranger", 2), key=replace(queued("stranger", 2).key, namespace="other"))
    here = replace(queued("here", 3), key=replace(queued("here", 3).key, namespace="gpu-relay"))
    snapshot = ClusterSnapshot(NOW, (elsewhere, stranger, here), residents=(resident(report()),))
    assert [waiting.job.name for waiting in only(snapshot).queue] == ["here"], "the resident lends to its own namespace"
    lent = resident(report(), allowed_namespaces="*")
    seen = ClusterSnapshot(NOW, (elsewhere, stranger), residents=(lent,), node_labels={"node-1": {"zone": "a"}})
    assert [waiting.job.name for waiting in only(seen).queue] == ["stranger"]
    unseen = ClusterSnapshot(NOW, (elsewhere, stranger), residents=(lent,))
    assert [waiting.job.name for waiting in only(unseen).queue] == ["elsewhere", "stranger"]


def test_a_card_says_it_at_a_glance() -> None:
    jobs = (training(), queued("next", 1))
    measured = resident(HELD, allowed_namespaces="vision")
    assert shown(ClusterSnapshot(NOW, jobs, leases={GPU: lease(training())}, residents=(measured,))) == [
        "● gpu-1  Tesla T4  on node-1",
        "  owner     vision/digits for 4m 00s (since 11:56:00), Training, epoch 12/100, should end at 12:10:00, "
        "in 10m 00s",
        "  memory    ████████████████████▒░░░░░░░░░ 10,240 MiB used, 4,670 MiB free of 15,360 MiB",
        "  resident  unloaded, unavailable for 4m 00s  gpu-relay/sam3",
        "  queue     1  vision/next  needs 10,240 MiB  WaitingInQueue",
    ]


def test_without_a_leader_nothing_new_starts() -> None:
    dead = LeaderRecord("1", "one", 12, 0, ago(minutes=3))
    assert shown(ClusterSnapshot(NOW, leases={}, leader=dead))[0] == (
        "No operator is the leader, and none has been for 3m 00s: no job starts."
    )
    alive = LeaderRecord("1", "one", 12, 0, ago(seconds=3))
    assert "No operator is the leader" not in shown(ClusterSnapshot(NOW, leases={}, leader=alive))[0]


def test_a_pipe_gets_no_colours_and_no_blanks_at_line_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    file = io.StringIO()
    snapshot = ClusterSnapshot(NOW, (training(),), leases={GPU: lease(training())}, unknown=("Something.",))
    output(file).print(gpu_cards(snapshot))
    assert "\x1b" not in file.getvalue()
    assert all(line == line.rstrip() for line in file.getvalue().splitlines())
