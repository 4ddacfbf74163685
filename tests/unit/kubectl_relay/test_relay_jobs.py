"""All jobs in a table: their order, what each line says, and that no name is cut."""

import io
import json

import pytest
from rich.console import Console

from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.quantities import timestamp
from gpu_relay.overview.jobs import JobLine, jobs_of
from gpu_relay.overview.snapshot import ClusterSnapshot
from kubectl_relay.show.console import output
from kubectl_relay.show.data import dumped
from kubectl_relay.show.jobs import show_jobs
from tests.unit.kubectl_relay.relay_world import NOW, ago, condition, job, queued, training

LONG = "defects-of-the-third-line-with-a-name-of-sixty-three-characters"


def ended(name: str, minutes: float, phase: str = "Succeeded", reason: str = "Completed") -> Job:
    kind = "Complete" if phase == "Succeeded" else "Failed"
    how = condition(kind, reason, f"{name} has ended")
    return job(name, phase=phase, completion_time=timestamp(ago(minutes=minutes)), conditions=[how])


def shown(*jobs: Job, everywhere: bool = True) -> list[str]:
    file = io.StringIO()
    snapshot = ClusterSnapshot(NOW, jobs, everywhere=everywhere)
    show_jobs(output(file), jobs_of(snapshot), snapshot)
    return file.getvalue().splitlines()


def only(of: Job) -> JobLine:
    (found,) = jobs_of(ClusterSnapshot(NOW, (of,)))
    return found


def test_owners_come_first_then_the_queue_then_the_rest() -> None:
    suspended = job("suspended", phase="Suspended", conditions=[condition("Suspended", "Suspended", "on request")])
    jobs = [
        ended("old", 20), suspended, job("preparing", phase="Preparing"), queued("second", 2), ended("recent", 3),
        queued("first", 1), job("new"), training("owner"),
    ]  # fmt: skip
    assert [line.job.name for line in jobs_of(ClusterSnapshot(NOW, tuple(jobs)))] == [
        "owner", "first", "second", "new", "preparing", "recent", "old", "suspended",
    ]  # fmt: skip


def test_a_table_has_a_line_for_each_job() -> None:
    waiting = queued("next", 1, estimated_start_time=timestamp(ago(minutes=-10)))
    assert shown(ended("done", 3), waiting, training(), job("new")) == [
        "JOB            PHASE      REASON           POSITION  EPOCH   ETA                AGE",
        "vision/digits  Training   TrainingRunning            12/100  ends in 10m 00s    30m 00s",
        "vision/next    Queued     WaitingInQueue   1                 starts in 10m 00s  30m 00s",
        "vision/new     New                                                              30m 00s",
        "vision/done    Succeeded  Completed                          ended 3m 00s ago   30m 00s",
    ]


def test_a_job_on_a_gpu_names_it_and_one_that_had_one_does_not() -> None:
    assert (only(training()).gpu, only(training()).node) == ("GPU-1", "node-1")
    had = training().status.model_copy(update={"turn": None, "phase": "Queued"})
    assert only(job(**had.model_dump())).gpu == ""


def test_an_eta_of_an_earlier_attempt_is_none() -> None:
    again = training().status.model_copy(update={"turn": None, "phase": "Queued"})
    assert only(job(**again.model_dump())).ends is None


def test_a_failed_job_says_why() -> None:
    line = only(ended("bad", 1, "Failed", "DatasetInvalid"))
    assert (line.phase, line.reason, line.message) == ("Failed", "DatasetInvalid", "bad has ended")


@pytest.mark.parametrize(("everywhere", "said"), [(True, "No job."), (False, "No job in this namespace.")])
def test_no_job(everywhere: bool, said: str) -> None:
    assert shown(everywhere=everywhere) == [said]


def test_a_pipe_gets_a_line_for_each_job_however_long_its_name() -> None:
    (_, line) = shown(queued(LONG, 1, namespace=LONG))
    assert line.startswith(f"{LONG}/{LONG}  Queued")
    assert line.endswith("30m 00s")


def test_a_narrow_terminal_folds_a_long_name_and_keeps_all_of_it() -> None:
    file = io.StringIO()
    long = queued(LONG, 12, namespace=LONG, estimated_start_time=timestamp(ago(minutes=-10)))
    snapshot = ClusterSnapshot(NOW, (long, training()))
    console = Console(file=file, width=80, force_terminal=True, color_system=None)
    show_jobs(console, jobs_of(snapshot), snapshot)
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    column = lines[0].index("PHASE")
    assert f"{LONG}/{LONG}" in "".join(line[:column].strip() for line in lines)
    assert "…" not in file.getvalue()


def test_programs_get_times_and_whole_messages() -> None:
    (read,) = json.loads(dumped(jobs_of(ClusterSnapshot(NOW, (training(),))), "json"))
    assert read["job"] == {"namespace": "vision", "name": "digits", "uid": "uid-digits"}
    assert (read["phase"], read["reason"], read["epoch"]) == ("Training", "TrainingRunning", "12/100")
    assert (read["ends"], read["starts"], read["position"]) == ("2026-01-01T12:10:00Z", None, None)
