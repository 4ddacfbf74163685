"""Nothing that a trainer or a resident answers can break the operator: whatever it is, it reads it, plans, and writes.

What goes wrong in one look at a GPU goes wrong in the next one too, so an exception here would keep the GPU for ever.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_relay.api.v1alpha1 import YoloTrainingJobSpec, YoloTrainingJobStatus
from gpu_relay.clients import trainers
from gpu_relay.clients.http import UnavailableError, call, open_session
from gpu_relay.clients.residents import Limits, ResidentClient
from gpu_relay.domain.job import preparation
from gpu_relay.domain.objects.job import Job, JobKey
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.pod import training_pod_of
from gpu_relay.domain.objects.resident import GpuReport, Resident
from gpu_relay.domain.objects.turn_view import TurnView
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.turn import plan as turn
from gpu_relay.domain.untrusted import read_object

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEY = JobKey("vision", "digits", "uid-1")
SPEC = YoloTrainingJobSpec.model_validate(
    {
        "model": "yolo26n.yaml",
        "dataset": {"persistentVolumeClaim": {"claimName": "data"}},
        "output": {"persistentVolumeClaim": {"claimName": "results"}},
        "gpu": {"memory": "10Gi"},
    }
)
LEASE = GpuLease("gpu-1", "1", "gpu-1", KEY.holder, 7, "2026-01-01T11:59:00Z", "key", "node-1", "")
REPORT = GpuReport("GPU-1", "T4", 15_360, 450, 0, 14_910, 14_000, False, "unloaded", None)
RESIDENT = Resident("gpu-relay", "sam3", "u", "node-1", "http://sam3", {}, REPORT)

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


def job(**status: Any) -> Job:
    return Job(KEY, 1, "1", "2026-01-01T11:58:00Z", False, SPEC, YoloTrainingJobStatus(**status))


def pod(text: str | None) -> dict[str, Any]:
    """Return a training pod, running or ended with these last words."""
    labels = {"gpurelay.dev/job-uid": KEY.uid, "gpurelay.dev/attempt": "1", "gpurelay.dev/fence": "7"}
    meta = {"namespace": "vision", "name": "digits-1", "uid": "p", "creationTimestamp": "2026-01-01T11:59:30Z"}
    ended = {"terminated": {"exitCode": 1, "message": text}} if text is not None else {"running": {}}
    phase = "Failed" if text is not None else "Running"
    status = {"phase": phase, "podIP": "127.0.0.1", "containerStatuses": [{"name": "trainer", "state": ended}]}
    return {"metadata": {**meta, "labels": {**labels, "gpurelay.dev/gpu": "gpu-1"}}, "status": status}


def writes(status: YoloTrainingJobStatus | None) -> None:
    """What the API server is sent: JSON in UTF-8, of a bounded size, that reads back as the same status."""
    if status is None:
        return
    text = json.dumps(
        status.model_dump(mode="json", by_alias=True, exclude_none=True), allow_nan=False, ensure_ascii=False
    )
    assert len(text.encode()) < 64 * 1024
    assert YoloTrainingJobStatus.model_validate(json.loads(text)) == status


def survives(text: str) -> None:
    """Take a text as last words, of a training and of a preparation, and as progress."""
    ended, running = training_pod_of(pod(text)), training_pod_of(pod(None))
    for last in (job(phase="Training", attempt=1, pod="digits-1"), job(phase="Acquiring")):
        writes(turn.plan(TurnView(NOW, Policy(), LEASE, RESIDENT, last, pods=(ended,))).status)
        progress = read_object(text)
        writes(turn.plan(TurnView(NOW, Policy(), LEASE, RESIDENT, last, pods=(running,), progress=progress)).status)
    record = {"number": 1, "pod": "digits-1-prepare", "startTime": "2026-01-01T11:59:00Z"}
    prepares = job(phase="Preparing", preparation=record)
    writes(preparation.plan(preparation.PreparationView(NOW, Policy(preparations=1), prepares, ended)).status)


@pytest.mark.parametrize("text", CORPUS)
def test_known_tricks(text: str) -> None:
    survives(text)


@given(OBJECTS)
@settings(max_examples=25, deadline=None)
def test_whatever_a_trainer_says(words: dict[str, Any]) -> None:
    survives(json.dumps(words))


# What people write on a pod, and what is missing there

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
    """Return a pod with one value of it, however deep, replaced."""
    if not path:
        return dict(value) if isinstance(value, dict) else {}
    inner = raw.get(path[0], {})
    replaced = value if len(path) == 1 else tampered(inner if isinstance(inner, dict) else {}, path[1:], value)
    return {**raw, path[0]: replaced}


def is_planned(raw: dict[str, Any]) -> None:
    """Read a pod, and plan with it as a training pod, as a preparing pod, and once it has ended."""
    found = training_pod_of(raw)
    assert found.live or found.termination is not None
    record = {"number": 1, "pod": "digits-1-prepare", "startTime": "2026-01-01T11:59:00Z"}
    for last in (job(phase="Training", attempt=1, pod="digits-1"), job(phase="Acquiring")):
        pods = (replace(found, job_uid=KEY.uid, fence=7), found)
        for each in pods:
            writes(turn.plan(TurnView(NOW, Policy(), LEASE, RESIDENT, last, pods=(each,))).status)
    prepares = preparation.PreparationView(NOW, Policy(), job(phase="Preparing", preparation=record), found)
    writes(preparation.plan(prepares).status)


@given(st.lists(st.tuples(st.lists(POD_FIELDS, min_size=1, max_size=3).map(tuple), GARBAGE), max_size=4), st.booleans())
@settings(max_examples=300, deadline=None)
def test_whatever_stands_on_a_pod(changes: list[tuple[tuple[str, ...], Any]], ended: bool) -> None:
    raw = pod('{"reason": "Completed"}' if ended else None)
    for path, value in changes:
        raw = tampered(raw, path, value)
    is_planned(raw)


@given(st.dictionaries(st.sampled_from(["metadata", "spec", "status"]), GARBAGE))
@settings(max_examples=100, deadline=None)
def test_whatever_is_called_a_pod(raw: dict[str, Any]) -> None:
    is_planned(raw)


@given(LABELS, SPELT | st.text(max_size=10), st.sampled_from(["labels", "annotations"]))
@settings(max_examples=100, deadline=None)
def test_whatever_a_label_says(name: str, value: str, where: str) -> None:
    is_planned(tampered(pod(None), ("metadata", where, f"gpurelay.dev/{name}"), value))


def test_numbers_that_no_label_of_ours_has_read_as_unknown() -> None:
    for value in ("9" * 5000, "1" * 30, "2147483648", "-1", "٣", "²", " 7", ""):
        raw = tampered(pod(None), ("metadata", "annotations", "gpurelay.dev/proven-free-mib"), value)
        read = training_pod_of(tampered(raw, ("metadata", "labels", "gpurelay.dev/fence"), value))
        assert (read.proven_mib, read.fence) == (None, 0)


# Over HTTP

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def ask(reply: Reply, client: Callable[[aiohttp.ClientSession, str], Awaitable[Any]]) -> Any:
    """Serve one reply on loopback and have a client ask for it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await reply(writer)
            await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, open_session() as session:
        return await client(session, url)


def whole(body: bytes, status: str = "200 OK", headers: str = "") -> Reply:
    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    return reply


def raw(text: bytes) -> Reply:
    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(text)

    return reply


async def drip(writer: asyncio.StreamWriter) -> None:
    """One byte at a time, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def endless(writer: asyncio.StreamWriter) -> None:
    """Chunk after chunk, as fast as they are taken."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()


async def in_parts(writer: asyncio.StreamWriter) -> None:
    """A good answer in three packets."""
    body = json.dumps({"epoch": 3}).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
    for part in (body[:4], body[4:9], body[9:]):
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(part)


HOSTILE: dict[str, Reply] = {
    "nothing": raw(b""),
    "no HTTP": raw(b"\x00\xff\r\n\r\n"),
    "another status line": raw(b"HTTP/9.9 999 " + b"x" * 5000 + b"\r\n\r\n"),
    "endless headers": raw(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000 + b"\r\n"),
    "two lengths": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}"),
    "negative length": raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}"),
    "broken chunks": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"),
    "an end too soon": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
    "a dripping answer": drip,
    "an endless answer": endless,
    "a large answer": whole(b'{"a": "%s"}' % (b"x" * 300_000)),
    "a packed answer": whole(b"\x1f\x8b\x08" + b"\x00" * 50, headers="Content-Encoding: gzip\r\n"),
    "deep JSON": whole(b"[" * 200_000),
    "deep JSON objects": whole(b'{"a":' * 40_000),
    "a list": whole(b"[]"),
    "not UTF-8": whole(b'{"a": "\xff\xfe"}'),
    "another place": whole(b"{}", "302 Found", "Location: http://169.254.169.254/\r\n"),
    "words of any kind": whole(b'{"detail": [[[[[[[[[[1]]]]]]]]]], "title": {"a": NaN}}', "500 Oh"),
    "long words": whole(b'{"detail": "%s"}' % (b"x" * 100_000), "503 Busy"),
    "no content": raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "early hints": raw(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50),
    "another protocol": raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    "cookies": whole(b"[]", headers="Set-Cookie: \x01=\x02; Domain=\xff\r\n" * 20),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_is_no_answer_is_unavailable(name: str) -> None:
    with pytest.raises(UnavailableError) as told:
        await ask(HOSTILE[name], lambda session, url: call(session, "GET", url, timeout=0.3))
    assert len(str(told.value)) <= 600


async def test_an_answer_in_parts_is_read_whole() -> None:
    assert await ask(in_parts, lambda session, url: call(session, "GET", url, timeout=5)) == {"epoch": 3}


GOOD = {
    "uuid": "GPU-1", "name": "T4", "total_mib": 15360, "reserved_mib": 450, "used_mib": 0, "free_mib": 14910,
    "need_mib": 14000, "model_loaded": False, "state": "unloaded", "hold": None,
}  # fmt: skip
BAD_REPORTS: list[dict[str, Any]] = [
    {"uuid": "gpu-unmanaged"}, {"uuid": "GPU-unmanaged"}, {"uuid": "GPU-" + "a" * 60}, {"uuid": "../x"},
    {"uuid": ["GPU-1"]},
    {"free_mib": -1}, {"free_mib": 2**31}, {"free_mib": "14910.5"}, {"free_mib": 1e300}, {"free_mib": None},
    {"name": "x" * 200}, {"state": {}}, {"hold": []}, {"hold": {"holder": "x", "fence": -1, "expires_in_seconds": 1}},
    {"hold": {"holder": "x", "fence": 1, "expires_in_seconds": "NaN"}}, {"idle_seconds": -1}, {"model_loaded": "maybe"},
]  # fmt: skip


@pytest.mark.parametrize("wrong", BAD_REPORTS)
async def test_a_report_that_makes_no_sense_is_none(wrong: dict[str, Any]) -> None:
    def report(session: aiohttp.ClientSession, url: str) -> Awaitable[GpuReport]:
        return ResidentClient(session, None, Limits(measure=2)).report(url)

    with pytest.raises(UnavailableError, match="its report is invalid"):
        await ask(whole(json.dumps({**GOOD, **wrong}).encode()), report)
    assert (await ask(whole(json.dumps(GOOD).encode()), report)).free_mib == 14_910


async def test_a_trainer_that_answers_nonsense_has_nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    async def progress(session: aiohttp.ClientSession, url: str) -> Any:
        monkeypatch.setattr(trainers, "PORT", int(url.rpartition(":")[2]))
        return await trainers.progress(session, replace(training_pod_of(pod(None)), ip="127.0.0.1"))

    assert await ask(HOSTILE["deep JSON"], progress) is None
    assert await ask(whole(b'{"epoch": 1e999}'), progress) == {"epoch": None}
