"""Statuses that another version or a user has written: they are read, or refused with a field's name.

Whatever can be read at all goes through every decision that looks at a job by itself, and none of them raises.
"""

from datetime import UTC, datetime
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpu_relay.api.v1alpha1 import YoloTrainingJobStatus
from gpu_relay.api.words import ConditionType, Phase, Reason
from gpu_relay.controllers.runtime.store import Cache
from gpu_relay.domain.job import status
from gpu_relay.domain.job.attempts import failed_attempts, next_batch, verdict
from gpu_relay.domain.job.deadlines import deadline, expires_at
from gpu_relay.domain.job.preparation import PreparationView, is_due, plan
from gpu_relay.domain.objects.job import Job, UnreadableJobError, job_of
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue import placement as queue
from gpu_relay.domain.queue.order import queue_key
from gpu_relay.domain.queue.run_lengths import Lengths, has_trained
from gpu_relay.domain.turn.plan import plan as plan_turn
from tests.support import specs
from tests.support.builders import lease, view

NOW = datetime(2026, 11, 28, tzinfo=UTC)
POLICY = Policy()
SCHEMA: specs.Schema = specs.VERSION["properties"]["status"]
_times = st.one_of(
    st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%SZ")),
    st.sampled_from(
        ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-01-01t00:00:00z", "2026-01-01T00:00:00+23:59",
         "2026-01-01T00:00:00.123456789Z", "2026-01-01T00:00:00", "0001-01-01T00:00:00Z", ""]
    ),
)  # fmt: skip
_words = st.one_of(
    st.sampled_from([*map(str, Reason), *map(str, Phase), *map(str, ConditionType)]), st.text(max_size=8), st.none()
)
_numbers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(0, 3), st.floats())
_anything = st.recursive(
    st.one_of(_times, _words, _numbers, st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=4), inner, max_size=2)),
    max_leaves=4,
)


def of(schema: specs.Schema) -> st.SearchStrategy[Any]:
    """Draw what a place of the status may hold, and now and then what it may not."""
    if "properties" in schema:
        known = {name: of(child) for name, child in schema["properties"].items()}
        good: st.SearchStrategy[Any] = st.fixed_dictionaries(
            {name: known[name] for name in schema.get("required", ())},
            optional={name: value for name, value in known.items() if name not in schema.get("required", ())},
        )
    elif schema.get("type") == "array":
        good = st.lists(of(schema["items"]), max_size=3)
    elif schema.get("format") == "date-time":
        good = _times
    elif schema.get("type") in {"integer", "number"}:
        good = _numbers
    elif schema.get("type") == "object":
        good = st.dictionaries(st.text(max_size=8), of(schema.get("additionalProperties", {})), max_size=3)
    else:
        good = st.sampled_from(schema["enum"]) if "enum" in schema else _words
    return st.one_of(*[good] * 15, _anything)


def raw_job(status: Any) -> dict[str, Any]:
    meta = {
        "namespace": "vision", "name": "digits", "uid": "u", "resourceVersion": "7", "generation": 2,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    volumes = {"persistentVolumeClaim": {"claimName": "data"}}
    spec = {
        "model": "yolo26n.yaml", "dataset": volumes, "output": volumes, "gpu": {"memory": "10Gi"},
        "activeDeadlineSeconds": 2**31 - 1, "ttlSecondsAfterFinished": 2**31 - 1,
    }  # fmt: skip
    return {"metadata": meta, "spec": spec, "status": status}


def judge(job: Job) -> None:
    """Have everything that decides about one job decide."""
    verdict(job, NOW)
    for look in (deadline, expires_at, failed_attempts, next_batch, queue.waits_since, queue_key,
                 queue.is_left_over, status.observed, status.reload_of, has_trained):  # fmt: skip
        look(job)
    for decide in (queue.is_ready, queue.not_before, is_due):
        decide(job, POLICY)
    Lengths([job]).of(job)
    queue.explain_placement([job], [], NOW, POLICY)
    plan(PreparationView(NOW, POLICY, job, may_begin=True))
    for holder in (job.key.holder, "resident"):
        fence = job.status.turn.fence if job.status.turn else 1
        owned = lease(None, holder=holder, fence=fence, acquired=None, reload_pending=job.key.holder)
        plan_turn(view(now=NOW, policy=POLICY, lease=owned, resident=None, job=job))


@settings(max_examples=400, deadline=None)
@example({"completionTime": "0000-01-01T00:00:00Z", "phase": "Failed"})
@example({"startTime": "9999-12-31T23:59:59Z"})
@example({"attempts": [{"number": 1, "pod": "p", "fence": 1, "reason": "?", "completionTime": "2026-01-01t00:00:00z"}]})
@example({"conditions": [{"type": "ResidentReloaded", "status": "True", "reason": "?", "message": "",
                          "lastTransitionTime": "2026-01-01T00:00:00Z"}]})  # fmt: skip
@example({"phase": "FromTheFuture", "turn": {"fence": 1, "since": "2026-01-01T00:00:00Z", "stopping": "?"}})
@example([])
@given(status=of(SCHEMA))
def test_a_status_is_refused_with_a_field_or_stops_no_decision(status: Any) -> None:
    try:
        job = job_of(raw_job(status))
    except UnreadableJobError as error:
        assert error.job.problem.startswith("status"), error.job.problem
        assert len(error.job.problem) < 4096
        return
    judge(job)
    YoloTrainingJobStatus.model_validate(job.status.model_dump(mode="json", by_alias=True, exclude_defaults=True))


@settings(max_examples=200, deadline=None)
@given(statuses=st.lists(of(SCHEMA), min_size=1, max_size=4))
def test_the_cache_knows_every_job_that_exists_whatever_its_status(statuses: list[Any]) -> None:
    cache = Cache(lambda _: True)
    ended = cache.jobs.part(lambda job: expires_at(job) is not None)
    for version, each in enumerate(statuses, start=1):
        raw = raw_job(each)
        raw["metadata"]["resourceVersion"] = str(version)
        cache.observe_job(raw)
        assert ("u" in cache.jobs) != ("u" in cache.unreadable)
        assert "u" not in cache.unreadable or "u" not in ended
    cache.observe_job({"metadata": {**raw_job({})["metadata"], "resourceVersion": "9"}}, deleted=True)
    assert "u" not in cache.jobs
    assert "u" not in cache.unreadable
