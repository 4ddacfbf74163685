"""Whatever the API server holds, views of it can be shown, hold together, and do not steer a terminal."""

import io
import json
import re
import unicodedata
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devcluster.paths import REPOSITORY
from gpu_relay.api.v1alpha1 import (
    Attempt,
    Condition,
    GpuStatus,
    Progress,
    Turn,
    YoloTrainingJobSpec,
    YoloTrainingJobStatus,
)
from gpu_relay.api.words import ConditionType, Phase, Reason
from gpu_relay.domain.objects.event import JobEvent
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.quantities import timestamp
from gpu_relay.overview.gpus import gpus_of
from gpu_relay.overview.jobs import jobs_of
from gpu_relay.overview.snapshot import ClusterSnapshot
from gpu_relay.overview.timeline import timeline_of
from kubectl_relay.show.console import output, say
from kubectl_relay.show.data import dumped
from kubectl_relay.show.explanation import show_explanation
from kubectl_relay.show.gpus import gpu_cards
from kubectl_relay.show.jobs import show_jobs
from kubectl_relay.show.timeline import show_timeline
from kubectl_relay.show.watching import panel
from kubectl_relay.views.data import plain
from kubectl_relay.views.explain import explain
from kubectl_relay.views.losses import losses
from kubectl_relay.views.progress import line, progress_of, share, sparkline

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SPEC = YoloTrainingJobSpec.model_validate(
    {
        "model": "yolo26n.yaml",
        "dataset": {"persistentVolumeClaim": {"claimName": "data"}},
        "output": {"persistentVolumeClaim": {"claimName": "results"}},
        "gpu": {"memory": "10Gi"},
    }
)
STEERING = [
    "\x1b[2J", "\x1b]0;x\x07", "\x9b31m", "\x9d0;x\x9c", "\r\x08\x0b\x0c\x00\x7f", "\u202egpj", "\u2066x\u2069",
    "[link=https://evil.example]x[/link]", "[bold]no markup[/]",
]  # fmt: skip
TEXTS = st.text(max_size=30) | st.sampled_from(STEERING)
STAGES = TEXTS.map(lambda text: text[:32])
MOMENTS = st.integers(-90_000, 90_000).map(lambda seconds: NOW + timedelta(seconds=seconds))
STAMPS = MOMENTS.map(timestamp)
FENCES = st.integers(0, 4)
MIB = st.integers(0, 20_000)
REASONS = st.sampled_from(list(map(str, Reason)))
T = TypeVar("T")
UUIDS = st.sampled_from(["GPU-1", "gpu-2"])


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def made(kind: type[T], **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[T]:
    """Build a type of the API from parts by their Python names; `st.builds` would fill in their aliases."""
    return st.fixed_dictionaries(parts).map(lambda found: kind(**found))


CONDITIONS = st.lists(
    made(
Condition, type=st.sampled_from(list(ConditionType)), status=st.sampled_from(["True", "False", "Unknown"]),
        reason=st.sampled_from([*map(str, Reason), "OfALaterVersion"]), message=TEXTS, last_transition_time=STAMPS,
    ),
    max_size=4,
)  # fmt: skip
ATTEMPTS = st.lists(
    made(
Attempt, number=st.integers(1, 9), pod=st.just("p"), fence=FENCES, reason=REASONS,
        message=TEXTS, epoch=maybe(st.integers(0, 9)), start_time=maybe(STAMPS), completion_time=STAMPS,
    ),
    max_size=4,
)  # fmt: skip
STATUSES = made(
YoloTrainingJobStatus,
    observed_generation=st.integers(-1, 2),
    phase=maybe(st.sampled_from(list(map(str, Phase)))),
    queue_position=maybe(st.integers(1, 20)),
    estimated_start_time=maybe(STAMPS),
    conditions=CONDITIONS,
    gpu=maybe(
        made(
GpuStatus, node=maybe(st.just("node-1") | TEXTS), name=maybe(TEXTS), resident=maybe(TEXTS), uuid=maybe(UUIDS),
            total=maybe(MIB), free_after=maybe(MIB))
    ),
    turn=maybe(made(
Turn, fence=FENCES, since=STAMPS)),
    attempts=ATTEMPTS,
    progress=maybe(
        made(
Progress, epoch=st.integers(0, 9), epochs=st.integers(0, 9), summary=TEXTS, stage=STAGES, eta=maybe(STAMPS),
            metrics=st.dictionaries(TEXTS, st.floats(-1e6, 1e6), max_size=2),
        )
    ),
    completion_time=maybe(STAMPS),
)  # fmt: skip
KEYS = st.sampled_from([JobKey("vision", name, f"uid-{name}") for name in ("a", "b", "c")])
JOBS = st.lists(
    st.builds(
        Job, key=KEYS, generation=st.just(1), resource_version=st.just("1"), created=STAMPS, deleting=st.booleans(),
        spec=st.just(SPEC), status=STATUSES,
    ),
    max_size=3, unique_by=lambda job: job.key,
)  # fmt: skip
LEASES = st.dictionaries(
    st.sampled_from(["gpu-1", "gpu-2"]),
    st.tuples(
        st.just("resident") | KEYS.map(lambda key: key.holder), FENCES, maybe(STAMPS), maybe(STAMPS), maybe(STAMPS)
    ),
).map(
    lambda found: {
        gpu: GpuLease(gpu, "1", gpu, holder, fence, acquired, "", "node-1", "", out, served)
        for gpu, (holder, fence, acquired, out, served) in found.items()
    }
)
EVENTS = st.lists(
    st.builds(
        JobEvent, namespace=st.just("vision"), job=st.just("a"), uid=st.sampled_from(["uid-a", "uid-gone"]),
        reason=REASONS | TEXTS, message=TEXTS, at=MOMENTS, warning=st.booleans(), turn=FENCES,
        gpu=st.sampled_from(["", "gpu-1"]) | TEXTS, node=TEXTS, outcome=REASONS | TEXTS, next_job=TEXTS,
    ),
    max_size=6,
).map(lambda found: tuple(sorted(found, key=lambda each: each.at)))  # fmt: skip
SNAPSHOTS = st.builds(
    ClusterSnapshot,
    now=st.just(NOW),
    jobs=JOBS.map(tuple),
    everywhere=st.booleans(),
    leases=maybe(LEASES),
    events=maybe(EVENTS),
)


class Terminal(io.StringIO):
    """Text that goes to a terminal."""

    def isatty(self) -> bool:
        return True


def everything_of(snapshot: ClusterSnapshot, stream: io.StringIO) -> None:
    """Print every view of a snapshot."""
    console = output(stream)
    gpus, jobs, timeline = gpus_of(snapshot), jobs_of(snapshot), timeline_of(snapshot)
    console.print(gpu_cards(snapshot))
    show_jobs(console, jobs, snapshot)
    show_timeline(console, timeline)
    for job in snapshot.jobs:
        explanation = explain(snapshot, job)
        show_explanation(console, explanation, NOW)
        for width in (20, 80, 200):
            console.print(panel(job, NOW, width))
        with redirect_stdout(stream):
            for text in (
                line(job),
                *losses(job),
                dumped(explanation, "json"),
                dumped(explanation, "yaml"),
                json.dumps(plain(progress_of(job))),
            ):
                say(text)
    with redirect_stdout(stream):
        for form in ("json", "yaml"):
            say(dumped(gpus, form))
            say(dumped(jobs, form))
            say(dumped(timeline, form))


def steers(character: str) -> bool:
    directions = "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"
    return directions or (unicodedata.category(character) in {"Cc", "Cs"} and character not in "\n\t")


@given(SNAPSHOTS)
@settings(max_examples=40, deadline=None)
def test_every_view_can_be_shown_and_steers_no_terminal(snapshot: ClusterSnapshot) -> None:
    piped = io.StringIO()
    everything_of(snapshot, piped)
    assert not [each for each in piped.getvalue() if steers(each)]
    terminal = Terminal()
    with patch.dict("os.environ", {"TERM": "xterm-256color"}):
        everything_of(snapshot, terminal)
    coloured = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert not [each for each in coloured if steers(each)], "nothing but rich's own colours"


def test_a_stage_is_shown_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    spec, progress = (
        SPEC,
        Progress(epoch=1, epochs=2, summary="1/2", stage="\x1b]8;;https://evil.example\x1b\\[link=x]"),
    )
    status = YoloTrainingJobStatus(phase=Phase.TRAINING, progress=progress)
    job = Job(JobKey("vision", "a", "u"), 1, "1", timestamp(NOW), False, spec, status)
    terminal = Terminal()
    output(terminal).print(panel(job, NOW, 200))
    assert "\ufffd]8;;https://evil.example\ufffd\\[link=x]" in terminal.getvalue()
    assert "\x1b]8" not in terminal.getvalue()


def test_nothing_is_printed_past_the_filter() -> None:
    """Only `show.console` prints, and the list of completions, which it filters itself."""
    printing = re.compile(r"\b(print|click\.echo|click\.secho|sys\.stdout\.write|Console)\(")
    package = REPOSITORY / "operator" / "kubectl_relay"
    found = {
        f"{file.relative_to(package)}: {text.strip()}"
        for file in package.rglob("*.py")
        for text in file.read_text().splitlines()
        if printing.search(text) and "console.print(" not in text and file.name != "console.py"
    }
    assert found == {'completion.py: print("\\n".join(suggestions(sys.argv[1:])))'}


@given(SNAPSHOTS)
@settings(max_examples=60, deadline=None)
def test_views_hold_together(snapshot: ClusterSnapshot) -> None:
    gpus, timeline = gpus_of(snapshot), timeline_of(snapshot)
    assert set(snapshot.leases or {}) <= {gpu.key for gpu in gpus}
    for gpu in gpus:
        lease = (snapshot.leases or {}).get(gpu.key)
        if lease is not None:
            assert gpu.owner is not None
            assert gpu.owner.job == lease.owner, "the Lease is the record of ownership"
    turns = [(turn.job.uid, turn.fence) for line in timeline.gpus for turn in line.turns]
    assert len(turns) == len(set(turns)), "no turn is listed twice"
    assert timeline.begin <= max([NOW, *(t.begin for line in timeline.gpus for t in line.turns if t.begin)])
    jobs = jobs_of(snapshot)
    assert {line.job for line in jobs} == {job.key for job in snapshot.jobs}
    assert len(jobs) == len(snapshot.jobs), "every job has one line"
    owning = {job.key for job in snapshot.jobs if job.status.turn is not None}
    waiting = [line.position for line in jobs if line.phase == Phase.QUEUED and line.job not in owning]
    assert waiting == sorted(waiting, key=lambda position: (position is None, position or 0)), "in the queue's order"
    for job in snapshot.jobs:
        done = share(job)
        assert done is None or 0 <= done <= 1
        fences = {attempt.fence for attempt in job.status.attempts}
        assert {(job.key.uid, fence) for fence in fences} <= set(turns), "every attempt has its turn"


@given(st.lists(st.floats(-1e6, 1e6), max_size=200), st.integers(0, 60))
def test_curves_fit_and_have_their_least_and_their_most(values: list[float], width: int) -> None:
    drawn = sparkline(values, width)
    assert len(drawn) == min(width, len(values))
    if len(values) <= width and len(set(values)) > 1:
        assert drawn[values.index(max(values))] == "█"
        assert drawn[values.index(min(values))] == "▁"
