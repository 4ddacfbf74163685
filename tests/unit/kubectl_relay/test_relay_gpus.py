"""Whose GPU it is, by whatever can be seen of it."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.resident import Hold
from kubectl_relay.show.console import output
from kubectl_relay.show.gpus import show_gpus
from kubectl_relay.views.gpus import Gpu, gpus_of
from kubectl_relay.views.picture import Leader, Picture
from tests.unit.kubectl_relay.relay_world import GPU, NOW, ago, lease, queued, report, resident, training


def only(picture: Picture) -> Gpu:
    (gpu,) = gpus_of(picture)
    return gpu


def owner_of(picture: Picture) -> str:
    owner = only(picture).owner
    return "not known" if owner is None else str(owner.job or "resident")


def shown(picture: Picture, width: int = 120) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False, markup=False)
    show_gpus(console, gpus_of(picture), picture)
    return [line.rstrip() for line in file.getvalue().splitlines()]


HELD = replace(report(used=10_240, state="unloaded"), hold=Hold(training().key.holder, 7, 50.0))


@pytest.mark.parametrize(
    ("picture", "owner"),
    [
        (Picture(NOW, (training(),), leases={GPU: lease(training())}), "vision/digits"),
        (Picture(NOW, leases={GPU: lease(training())}), "vision/digits"),
        (Picture(NOW, (training(),), leases={GPU: lease()}), "resident"),
        (Picture(NOW, (training(),)), "vision/digits"),
        (Picture(NOW, residents=(resident(HELD),)), "vision/digits"),
        (Picture(NOW, residents=(resident(report()),)), "resident"),
        (Picture(NOW, leases={}, residents=(resident(),)), "resident"),
        (Picture(NOW, residents=(resident(),)), "not known"),
        (Picture(NOW, leases={GPU: lease(training())}, residents=(resident(),)), "vision/digits"),
    ],
)
def test_the_lease_counts_first_then_the_job_then_the_hold(picture: Picture, owner: str) -> None:
    assert owner_of(picture) == owner


def test_a_resident_that_cannot_be_asked_is_judged_by_the_lease() -> None:
    def state(owed: str = "", owner: Job | None = None) -> str:
        gpu = only(Picture(NOW, (training(),), leases={GPU: lease(owner, owed=owed)}, residents=(resident(),)))
        assert gpu.resident is not None
        assert not gpu.resident.measured
        return gpu.resident.state

    assert state() == "loaded"
    assert state(owed="a turn") == "to be loaded"
    assert state(owner=training()) == "unloaded"


def test_an_outage_counts_from_its_first_turn() -> None:
    mine = lease(training(), out_since="2026-01-01T11:30:00Z")
    picture = Picture(NOW, (training(),), leases={GPU: mine}, residents=(resident(HELD, max_outage="45m"),))
    assert "  resident  unloaded, out for 30m 00s of at most 45m 00s  gpu-relay/sam3" in shown(picture)


def test_a_loaded_resident_is_not_out() -> None:
    back = lease(out_since="2026-01-01T11:30:00Z", served_since="2026-01-01T11:50:00Z")
    gpu = only(Picture(NOW, leases={GPU: back}, residents=(resident(report()),)))
    assert gpu.resident is not None
    assert gpu.resident.out_since is None


def test_the_queue_is_in_order_and_without_those_that_fit_nowhere() -> None:
    jobs = (training(), queued("late", 2), queued("urgent", 1, spec={"priority": 5}), queued("huge", 3, "NoGpuFits"))
    picture = Picture(NOW, jobs, leases={GPU: lease(training())})
    assert [waiting.job.name for waiting in only(picture).queue] == ["urgent", "late"]
    assert "  no GPU suits  vision/huge (10,240 MiB)" in shown(picture)


def test_a_queue_that_was_not_read_is_not_called_empty() -> None:
    known = {GPU: lease(training())}
    assert "  queue     empty" in shown(Picture(NOW, (training(),), leases=known))
    unread = "jobs of other namespaces were not read, and may wait, too"
    assert f"  queue     {unread}" in shown(Picture(NOW, (training(),), everywhere=False, leases=known))
    jobs = (training(), queued("late", 2))
    assert shown(Picture(NOW, jobs, everywhere=False, leases=known))[-1].strip() == unread


def test_gpus_that_may_not_be_seen_are_not_called_unknown() -> None:
    assert shown(Picture(NOW, everywhere=False))[0] == "No GPU can be seen with your rights."
    assert shown(Picture(NOW, leases={}, residents=()))[0].startswith("No GPU is known yet")


def test_a_job_waits_behind_gpus_that_could_serve_it_only() -> None:
    elsewhere = queued("elsewhere", 1, spec={"podTemplate": {"nodeSelector": {"zone": "b"}}})
    stranger = replace(queued("stranger", 2), key=replace(queued("stranger", 2).key, namespace="other"))
    here = replace(queued("here", 3), key=replace(queued("here", 3).key, namespace="gpu-relay"))
    picture = Picture(NOW, (elsewhere, stranger, here), residents=(resident(report()),))
    assert [waiting.job.name for waiting in only(picture).queue] == ["here"], "the resident lends to its own namespace"
    lent = resident(report(), allowed_namespaces="*")
    seen = Picture(NOW, (elsewhere, stranger), residents=(lent,), node_labels={"node-1": {"zone": "a"}})
    assert [waiting.job.name for waiting in only(seen).queue] == ["stranger"]
    unseen = Picture(NOW, (elsewhere, stranger), residents=(lent,))
    assert [waiting.job.name for waiting in only(unseen).queue] == ["elsewhere", "stranger"]


def test_a_card_says_it_at_a_glance() -> None:
    jobs = (training(), queued("next", 1))
    measured = resident(HELD, allowed_namespaces="vision")
    assert shown(Picture(NOW, jobs, leases={GPU: lease(training())}, residents=(measured,))) == [
        "● gpu-1  Tesla T4  on node-1",
        "  owner     vision/digits for 4m 00s (since 11:56:00), Training, epoch 12/100, should end at 12:10:00, "
        "in 10m 00s",
        "  memory    ████████████████████▒░░░░░░░░░ 10,240 MiB used, 4,670 MiB free of 15,360 MiB",
        "  resident  unloaded, out for 4m 00s  gpu-relay/sam3",
        "  queue     1  vision/next  needs 10,240 MiB  WaitingInQueue",
    ]


def test_without_a_leader_nothing_new_starts() -> None:
    dead = Leader("one", ago(minutes=3), NOW - ago(seconds=12))
    assert shown(Picture(NOW, leases={}, leader=dead))[0] == (
        "No operator leads, and none has for 3m 00s: nothing new starts."
    )
    alive = Leader("one", ago(seconds=3), NOW - ago(seconds=12))
    assert "No operator leads" not in shown(Picture(NOW, leases={}, leader=alive))[0]


def test_a_pipe_gets_no_colours_and_no_blanks_at_line_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    file = io.StringIO()
    picture = Picture(NOW, (training(),), leases={GPU: lease(training())}, unknown=("Something.",))
    show_gpus(output(file), gpus_of(picture), picture)
    assert "\x1b" not in file.getvalue()
    assert all(line == line.rstrip() for line in file.getvalue().splitlines())
