"""The routes: shapes of answers, problems, limits and control."""

from pathlib import Path
from typing import Any

import pytest

from residency.api.auth import TokenFile
from tests.unit.sam3.conftest import Resident

UNLOAD = {"holder": "job/a", "fence": 1, "renew_key": "secret"}


async def test_health_and_gpu_have_the_contracts_fields(resident: Resident) -> None:
    assert await resident.health() == {
        "status": "ok",
        "model_loaded": False,
        "state": "unloaded",
        "hold": None,
        "error": None,
    }
    measured = await resident.measured()
    assert measured.pop("idle_seconds") >= 0
    assert measured == {
        "uuid": "GPU-1",
        "name": "Tesla T4",
        "total_mib": 15360,
        "used_mib": 0,
        "reserved_mib": 450,
        "free_mib": 14910,
        "worker_allocated_mib": 0,
        "worker_cap_mib": 14000,
        "need_mib": 14000,
        "residual_mib": 0,
        "in_flight": 0,
        "refused": 0,
        "newest_fence": 0,
        "model_loaded": False,
        "state": "unloaded",
        "hold": None,
    }


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        "no JSON",
        UNLOAD | {"holder": ""},
        UNLOAD | {"fence": -1},
        UNLOAD | {"fence": "1"},
        UNLOAD | {"fence": 1.5},
        UNLOAD | {"fence": True},
        UNLOAD | {"ttl_seconds": 0},
        UNLOAD | {"ttl_seconds": "soon"},
        UNLOAD | {"drain_timeout_seconds": -1},
        UNLOAD | {"eta": "tomorrow"},
        {"holder": "job/a", "fence": 1},
    ],
)
async def test_an_unload_that_makes_no_sense_changes_nothing(resident: Resident, body: Any) -> None:
    await resident.segment()
    content = {"content": "no JSON"} if body == "no JSON" else {"json": body}
    answer = await resident.client.post("/api/v1/unload", headers={"content-type": "application/json"}, **content)
    assert answer.status_code == 422
    problem = answer.json()
    assert (problem["type"], problem["status"]) == ("about:blank", 422)
    assert problem["detail"]
    health = await resident.health()
    assert (health["model_loaded"], health["hold"]) == (True, None)


async def test_a_body_of_undeclared_length_is_counted_as_it_arrives(resident: Resident) -> None:
    async def chunks() -> Any:
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(8):
            yield bytes(1 << 20)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = await resident.client.post("/api/v1/segment", content=chunks(), headers=headers)
    assert answer.status_code == 413


async def test_unknown_routes_and_methods_are_problems(resident: Resident) -> None:
    for answer in (await resident.client.get("/nowhere"), await resident.client.get("/api/v1/load")):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code


@pytest.mark.parametrize("resident", [{"max_in_flight": 1}], indirect=True)
async def test_more_requests_than_fit_are_asked_to_come_again(resident: Resident) -> None:
    resident.script.preparing.clear()
    first = resident.begin(resident.segment())
    await resident.until(lambda: resident.coordinator.in_flight.count == 1)
    second = await resident.segment()
    assert second.status_code == 503
    assert "as many as this server takes" in second.json()["detail"]
    assert int(second.headers["retry-after"]) > 0
    resident.script.preparing.set()
    assert (await first).status_code == 200


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("let-me-in\n")
    return path


async def test_control_needs_a_token_and_the_rest_does_not(resident: Resident, token_file: Path) -> None:
    resident.app.state.control = TokenFile(token_file)
    for path in ("/api/v1/unload", "/api/v1/load"):
        refused = await resident.client.post(path, json=UNLOAD)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        forged = await resident.client.post(path, json=UNLOAD, headers={"authorization": "Bearer forged"})
        assert forged.status_code == 401
    assert (await resident.health())["hold"] is None
    allowed = await resident.client.post("/api/v1/unload", json=UNLOAD, headers={"authorization": "Bearer let-me-in"})
    assert allowed.status_code == 200
    renewed = await resident.client.post("/api/v1/hold/renew", json={"fence": 1, "renew_key": "secret"})
    assert renewed.status_code == 200
    assert "secret" not in renewed.text + allowed.text + (await resident.client.get("/health")).text


async def test_the_newest_fence_is_reported_after_its_hold_has_ended(resident: Resident) -> None:
    await resident.unload()
    assert (await resident.client.post("/api/v1/load", json={"holder": "job/a", "fence": 1})).status_code == 200
    measured = await resident.measured()
    assert (measured["hold"], measured["newest_fence"]) == (None, 1)


async def test_metrics_report_routes_states_and_refusals(resident: Resident) -> None:
    await resident.segment()
    await resident.unload()
    await resident.segment()
    text = (await resident.client.get("/metrics")).text
    for line in (
        'sam3_requests_total{route="/api/v1/segment",status="200"} 1.0',
        'sam3_requests_total{route="/api/v1/segment",status="503"} 1.0',
        "sam3_refused_total 1.0",
        "sam3_load_seconds_count 1.0",
        "sam3_unload_seconds_count 1.0",
        'sam3_state{state="unloaded"} 1.0',
        "sam3_model_loaded 0.0",
        "sam3_unload_free_before_mib 910.0",
        "sam3_unload_free_after_mib 14910.0",
        "sam3_unload_residual_mib 0.0",
        "sam3_worker_allocated_mib 0.0",
    ):
        assert line in text.splitlines()
    age = next(line for line in text.splitlines() if line.startswith("sam3_hold_age_seconds "))
    assert float(age.split()[1]) > 0


async def test_serving_seconds_count_while_the_model_answers(resident: Resident) -> None:
    assert await _serving_seconds(resident) == 0
    await resident.segment()
    resident.clock.passed += 100
    assert 100 <= await _serving_seconds(resident) < 1000
    await resident.unload()
    resident.clock.passed += 1000
    assert 100 <= await _serving_seconds(resident) < 1000


async def _serving_seconds(resident: Resident) -> float:
    lines = (await resident.client.get("/metrics")).text.splitlines()
    return float(next(line for line in lines if line.startswith("sam3_serving_seconds_total ")).split()[1])
