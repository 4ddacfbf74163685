"""Nothing on a pod can break the operator: not its trainer's termination message and progress, not its fields.

An exception while a GPU is observed would recur at every reconciliation, and keep the GPU indefinitely.
"""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_relay.api.v1alpha1 import YoloTrainingJobStatus
from gpu_relay.domain.job import preparation
from gpu_relay.domain.job.preparation import PreparationView
from gpu_relay.domain.objects.pod import training_pod_of
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.turn import plan as turn
from gpu_relay.domain.untrusted import read_object
from tests.support.builders import KEY, NOW, job, pod_object, view

FIELDS = st.sampled_from(
    [
        "reason", "message", "epoch", "epochs", "metrics", "weights", "exports", "peakMemoryMiB", "batch", "prepared",
        "seconds", "bytes", "images", "stage", "eta_seconds",
    ]
)  # fmt: skip
ODD = st.sampled_from(
    [10**400, -(10**400), 2**63, 1e308, float("nan"), float("inf"), "\ud800", "\x00", "", "Completed", True, -1, {}, []]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | ODD
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELDS | st.text(), inner, max_size=4)
)
OBJECTS = st.dictionaries(FIELDS | st.text(max_size=5), VALUES, max_size=8)
CORPUS = [
    "", "null", "[]", '"x"', "{", "[" * 4000, '{"reason":' * 1000, '{"a":' * 900 + "1" + "}" * 900, '{"epoch": 1e999}',
    '{"epoch": %s}' % ("9" * 4000), '{"reason": []}', '{"reason": {"a": 1}}', '{"reason": "Completed", "metrics": [1]}',
    '{"reason": "Completed", "metrics": {"m": %s}}' % ("9" * 400), '{"message": "\\ud800", "reason": "\\ud800"}',
    '{"reason": "Completed", "weights": {"best": "\\udfff"}}', "\ufeff{}",
    '{"prepared": {"seconds": 1e400, "images": {"a": true}}}',
]  # fmt: skip

OWNERS = (job(status={"phase": "Training", "attempt": 1, "pod": "digits-1"}), job(status={"phase": "Acquiring"}))
_RECORD = {"number": 1, "pod": "digits-1-prepare", "startTime": "2026-01-01T11:59:00Z"}
PREPARED = job(status={"phase": "Preparing", "preparation": _RECORD})


def writes(status: YoloTrainingJobStatus | None) -> None:
    """Check what the API server is sent: JSON in UTF-8, of bounded size, that is read back as the same status."""
    if status is None:
        return
    text = json.dumps(
        status.model_dump(mode="json", by_alias=True, exclude_none=True), allow_nan=False, ensure_ascii=False
    )
    assert len(text.encode()) < 64 * 1024
    assert YoloTrainingJobStatus.model_validate(json.loads(text)) == status


def survives(text: str) -> None:
    """Plan with a text as the termination message of a training and of a preparation, and as progress."""
    ended, running = training_pod_of(pod_object(text)), training_pod_of(pod_object(None))
    for owner in OWNERS:
        writes(turn.plan(view(job=owner, pods=(ended,))).status)
        progress = read_object(text)
        writes(turn.plan(view(job=owner, pods=(running,), progress=progress)).status)
    writes(preparation.plan(PreparationView(NOW, Policy(preparations=1), PREPARED, ended)).status)


@pytest.mark.parametrize("text", CORPUS)
def test_known_hostile_texts(text: str) -> None:
    survives(text)


@given(OBJECTS)
@settings(max_examples=25, deadline=None)
def test_any_json_of_a_trainer(words: dict[str, Any]) -> None:
    survives(json.dumps(words))


# Fields of pods that users, webhooks and other controllers write or leave out

SPELT = st.sampled_from(
    ["9" * 5000, "1" * 30, "-1", "٣", "1e9", " 7", "0x7", "²", "", "2147483648", "7", "coresident",
     "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "2026-01-01T12:00:00", "2026-01-01T12:00:00Z",
     "\ud800", "x" * 100_000]
)  # fmt: skip
POD_FIELDS = st.sampled_from(
    ["metadata", "spec", "status", "labels", "annotations", "conditions", "containerStatuses", "initContainerStatuses",
     "containers", "initContainers", "volumes", "name", "type", "reason", "message", "state", "lastState", "waiting",
     "running", "terminated", "exitCode", "startedAt", "finishedAt", "phase", "nodeName", "deletionTimestamp", "podIP",
     "creationTimestamp", "restartPolicy", "claimName", "persistentVolumeClaim", "started"]
)  # fmt: skip
GARBAGE = st.recursive(
    LEAVES | SPELT | st.sampled_from(["trainer", "Pending", "Running", "Failed", "True", "False", "PodScheduled"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(POD_FIELDS | st.text(max_size=3), inner, max_size=5),
    max_leaves=40,
)
LABELS = st.sampled_from(["gpu", "fence", "attempt", "job-uid", "sharing", "job", "proven-free-mib"])


def tampered(raw: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return a pod with one value replaced, at any depth."""
    if not path:
        return dict(value) if isinstance(value, dict) else {}
    inner = raw.get(path[0], {})
    replaced = value if len(path) == 1 else tampered(inner if isinstance(inner, dict) else {}, path[1:], value)
    return {**raw, path[0]: replaced}


def is_planned(raw: dict[str, Any]) -> None:
    """Read a pod, and plan with it as a training pod and as a preparing pod."""
    found = training_pod_of(raw)
    assert found.live or found.termination is not None
    for owner in OWNERS:
        pods = (replace(found, job_uid=KEY.uid, fence=7), found)
        for each in pods:
            writes(turn.plan(view(job=owner, pods=(each,))).status)
    writes(preparation.plan(PreparationView(NOW, Policy(), PREPARED, found)).status)


@given(st.lists(st.tuples(st.lists(POD_FIELDS, min_size=1, max_size=3).map(tuple), GARBAGE), max_size=4), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_value_in_a_pod(changes: list[tuple[tuple[str, ...], Any]], ended: bool) -> None:
    raw = pod_object('{"reason": "Completed"}' if ended else None)
    for path, value in changes:
        raw = tampered(raw, path, value)
    is_planned(raw)


@given(st.dictionaries(st.sampled_from(["metadata", "spec", "status"]), GARBAGE))
@settings(max_examples=100, deadline=None)
def test_any_object_as_a_pod(raw: dict[str, Any]) -> None:
    is_planned(raw)


@given(LABELS, SPELT | st.text(max_size=10), st.sampled_from(["labels", "annotations"]))
@settings(max_examples=100, deadline=None)
def test_any_value_of_a_label(name: str, value: str, where: str) -> None:
    is_planned(tampered(pod_object(None), ("metadata", where, f"gpurelay.dev/{name}"), value))


def test_numbers_out_of_range_are_unknown() -> None:
    for value in ("9" * 5000, "1" * 30, "2147483648", "-1", "٣", "²", " 7", ""):
        raw = tampered(pod_object(None), ("metadata", "annotations", "gpurelay.dev/proven-free-mib"), value)
        read = training_pod_of(tampered(raw, ("metadata", "labels", "gpurelay.dev/fence"), value))
        assert (read.proven_mib, read.fence) == (None, 0)
