"""While the GPU is lent out: refused at once, waiting for a turn that is about to end, or answered from the CPU."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from residency.errors import LoadError
from sam3_server.serving.host_memory import HostBudget, available_mib
from tests.unit.sam3.conftest import Resident
from tests.unit.sam3.scripted import WEIGHTS

WAIT = pytest.mark.parametrize("resident", [{"held_wait": 5.0, "max_in_flight": 2}], indirect=True)
CPU = pytest.mark.parametrize("resident", [{"fallback": True}], indirect=True)


def soon(seconds: float = 1) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@WAIT
async def test_a_request_waits_for_a_turn_that_is_about_to_end(resident: Resident) -> None:
    await resident.unload(eta=soon())
    waiting = resident.begin(resident.segment())
    await resident.until(lambda: resident.coordinator.admission.quota.count == 1)
    assert (await resident.load()).status_code == 200
    assert (await waiting).status_code == 200
    assert (await resident.measured())["refused"] == 0


@WAIT
async def test_a_request_waits_for_a_hold_that_is_not_renewed(resident: Resident) -> None:
    await resident.unload(ttl_seconds=0.2)
    assert (await resident.segment()).status_code == 200


@WAIT
@pytest.mark.parametrize("eta", [None, soon(3600)], ids=["no eta", "an hour"])
async def test_it_does_not_wait_for_a_turn_that_continues(resident: Resident, eta: str | None) -> None:
    await resident.unload(eta=eta)
    assert (await resident.segment()).status_code == 503
    assert (await resident.measured())["refused"] == 1


@WAIT
async def test_a_turn_that_is_prolonged_is_waited_for_no_longer(resident: Resident) -> None:
    await resident.unload(eta=soon())
    waiting = resident.begin(resident.segment())
    await resident.until(lambda: resident.coordinator.admission.quota.count == 1)
    await resident.unload(eta=soon(3600))
    assert (await waiting).status_code == 503


@WAIT
async def test_no_more_wait_than_may_be_in_flight(resident: Resident) -> None:
    await resident.unload(eta=soon())
    waiting = [resident.begin(resident.segment()) for _ in range(2)]
    await resident.until(lambda: resident.coordinator.admission.quota.count == 2)
    assert (await resident.segment()).status_code == 503
    await resident.load()
    assert [(await each).status_code for each in waiting] == [200, 200]


@CPU
async def test_the_cpu_answers_with_the_degraded_header(resident: Resident) -> None:
    assert "sam3-degraded" not in (await resident.segment()).headers
    await resident.unload()
    await resident.until(lambda: bool(resident.cpu.launched))
    answer = await resident.segment("cat", "dog")
    assert (answer.status_code, answer.headers["sam3-degraded"]) == (200, "cpu")
    assert [result["prompt"] for result in answer.json()["results"]] == ["cat", "dog"]
    assert resident.gpu.workers == 0
    assert "sam3_degraded_total 1.0" in (await resident.client.get("/metrics")).text


@CPU
async def test_the_cpu_worker_answers_before_it_ends_with_the_turn(resident: Resident) -> None:
    await resident.unload()
    await resident.until(lambda: bool(resident.cpu.launched))
    resident.cpu.inferring.clear()
    slow = resident.begin(resident.segment())
    (worker,) = resident.cpu.launched
    await resident.until(lambda: bool(worker.images))
    await resident.load()
    assert "sam3-degraded" not in (await resident.segment()).headers
    assert worker.alive
    resident.cpu.inferring.set()
    assert (await slow).headers["sam3-degraded"] == "cpu"
    await resident.until(lambda: not worker.alive)


def _has_launched(resident: Resident, workers: int) -> bool:
    return len(resident.cpu.launched) == workers


@CPU
async def test_the_next_turn_has_a_worker_of_its_own(resident: Resident) -> None:
    for fence in (1, 2):
        await resident.unload(fence=fence)
        await resident.until(partial(_has_launched, resident, fence))
        assert (await resident.segment()).headers["sam3-degraded"] == "cpu"
        await resident.load(fence=fence)
        await resident.until(lambda: not resident.cpu.launched[-1].alive)


@CPU
async def test_a_cpu_that_cannot_answer_refuses(resident: Resident) -> None:
    resident.cpu.prepare_failure = LoadError("no such file")
    await resident.unload()
    await resident.until(lambda: bool(resident.cpu.launched))
    answer = await resident.segment()
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0


@CPU
async def test_more_than_the_cpu_takes_are_refused(resident: Resident) -> None:
    await resident.unload()
    await resident.until(lambda: bool(resident.cpu.launched))
    resident.cpu.inferring.clear()
    slow = [resident.begin(resident.segment()) for _ in range(2)]
    await resident.until(lambda: resident.fallback is not None and _busy(resident) == 2)
    assert (await resident.segment()).status_code == 503
    resident.cpu.inferring.set()
    assert [(await each).status_code for each in slow] == [200, 200]


def _busy(resident: Resident) -> int:
    fallback = resident.fallback
    return fallback.in_flight.count if fallback else 0


SHORT = HostBudget(need_mib=1 << 40, reserve_mib=0)


@pytest.mark.parametrize("resident", [{"host": SHORT, "fallback": True}], indirect=True)
async def test_a_host_short_of_memory_keeps_no_process_ready(
    resident: Resident, caplog: pytest.LogCaptureFixture
) -> None:
    await resident.segment()
    await resident.unload()
    await resident.until(lambda: "SAM3_STANDBY=false" in caplog.text)
    for _ in range(3):
        await resident.coordinator.reconcile()
    assert (len(resident.script.launched), resident.cpu.launched) == (1, [])
    assert caplog.text.count("SAM3_STANDBY=false") == 1
    assert (await resident.segment()).status_code == 503
    assert (await resident.load()).status_code == 200


@pytest.mark.parametrize("resident", [{"host": SHORT}], indirect=True)
async def test_the_standby_comes_once_there_is_memory(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    await resident.unload()
    assert not resident.pool.standby_ready
    monkeypatch.setattr(HostBudget, "allows", lambda _: True)
    await resident.until(lambda: resident.pool.standby_ready)
    metrics = (await resident.client.get("/metrics")).text
    assert "sam3_standby_ready 1.0" in metrics
    assert f"sam3_standby_weights_mib {WEIGHTS}.0" in metrics
    await resident.load()
    assert "sam3_standby_weights_mib 0.0" in (await resident.client.get("/metrics")).text


async def test_a_standby_that_died_is_not_begun_over_and_over(resident: Resident) -> None:
    await resident.unload()
    await resident.until(lambda: resident.pool.standby_ready)
    resident.script.launched[0].die()
    for _ in range(3):
        await resident.coordinator.reconcile()
    assert len(resident.script.launched) == 1
    assert (await resident.load()).status_code == 200


def host(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_of_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = {"proc__meminfo": "MemTotal: 9000000 kB\nMemAvailable:    4194304 kB\n"}
CGROUP = {
    "sys__fs__cgroup__memory_of_max": f"{3 << 30}\n",
    "sys__fs__cgroup__memory_of_current": f"{2 << 30}\n",
    "sys__fs__cgroup__memory_of_stat": f"anon 5\ninactive_file {1 << 29}\n",
}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        (MEMINFO, 4096),
        (MEMINFO | CGROUP, 1024 + 512),
        (MEMINFO | CGROUP | {"sys__fs__cgroup__memory_of_max": "max\n"}, 4096),
        (CGROUP | {"sys__fs__cgroup__memory_of_current": f"{4 << 30}\n", "sys__fs__cgroup__memory_of_stat": ""}, 0),
    ],
    ids=["unknown", "the machine's", "the pod's", "a pod without limit", "a pod above its limit"],
)
def test_available_memory_is_the_machines_or_the_pods(
    tmp_path: Path, files: dict[str, str], expected: int | None
) -> None:
    assert available_mib(host(tmp_path, **files)) == expected


@pytest.mark.parametrize(("full", "expected"), [(True, 2000), (False, 1100)], ids=["float32", "half precision"])
def test_a_budget_counts_the_weights_in_the_precision_of_the_worker(tmp_path: Path, full: bool, expected: int) -> None:
    header = {"a": {"dtype": "F16", "shape": [1000, 1 << 18]}, "b": {"dtype": "F32", "shape": [250, 1 << 10, 1 << 10]}}
    text = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    assert HostBudget.of(tmp_path, reserve_mib=500, full=full).need_mib == expected + 512


@pytest.mark.parametrize("content", [b"", b"\0" * 20, b"\xff" * 20, b"\2\0\0\0\0\0\0\0[]", b'\7\0\0\0\0\0\0\0{"a":1}'])
def test_a_file_of_weights_that_is_none_is_left_to_the_worker(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    assert HostBudget.of(tmp_path, reserve_mib=0, full=True).need_mib == 512


def test_a_budget_wants_what_it_needs_and_what_is_to_stay_free(tmp_path: Path) -> None:
    budget = HostBudget(2512, 500)
    root = host(tmp_path / "root", **MEMINFO)
    assert HostBudget(budget.need_mib, 1584, root).allows()
    assert not HostBudget(budget.need_mib, 1585, root).allows()
    assert "4096 MiB are available" in HostBudget(budget.need_mib, 1585, root).shortage()
    assert HostBudget(budget.need_mib, 1585, tmp_path / "nowhere").allows()
