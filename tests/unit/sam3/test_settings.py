"""Configuration: what makes sense is taken, the rest is answered with a sentence that says what to set."""

from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from residency.api.auth import OpenControl
from residency.settings import describe, explain
from sam3_server.__main__ import build_app
from sam3_server.serving.worker_pool import WorkerTimeouts
from sam3_server.settings import Settings


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in Settings.model_fields:
        monkeypatch.delenv(Settings.variable(name), raising=False)
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def setting_errors(monkeypatch: pytest.MonkeyPatch, **environment: object) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(ValidationError) as caught:
        Settings()
    return "\n".join(explain(Settings, caught.value))


def test_defaults_suffice_with_a_model_and_a_way_of_control(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAM3_MODEL", str(model))
    monkeypatch.setenv("SAM3_CONTROL_SERVICE_ACCOUNTS", "gpu-relay:operator, other:one")
    monkeypatch.setenv("BIND_ADDRESS", "127.0.0.1")
    monkeypatch.setenv("SAM3_CONTROL_TOKEN_FILE", "")
    settings = Settings()
    assert settings.control_service_accounts == ("gpu-relay:operator", "other:one")
    assert (settings.gpu_memory_mib, settings.http_port, settings.bind_address) == (14000, 8000, "127.0.0.1")
    assert settings.control_token_file is None


def test_nothing_set_names_the_model(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert setting_errors(monkeypatch).startswith("SAM3_MODEL is not set: folder of the model")


def test_a_folder_without_a_model_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = model / "empty"
    assert f"SAM3_MODEL: {empty} has no config.json" in setting_errors(
        monkeypatch, SAM3_MODEL=empty, SAM3_CONTROL="open"
    )


@pytest.mark.parametrize(
    "environment",
    [{}, {"SAM3_CONTROL": "open", "SAM3_CONTROL_TOKEN_FILE": "/token"}],
    ids=["no way of control", "two ways"],
)
def test_control_is_said_exactly_once(
    model: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    said = setting_errors(monkeypatch, SAM3_MODEL=model, **environment)
    assert said.startswith("choose who may unload and load with exactly one of SAM3_CONTROL_TOKEN_FILE")


def test_a_server_that_could_never_become_ready_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = setting_errors(monkeypatch, SAM3_MODEL=model, SAM3_CONTROL="open", SAM3_READY_WHEN="loaded")
    assert said.startswith("SAM3_READY_WHEN=loaded needs SAM3_PRELOAD=true")
    monkeypatch.setenv("SAM3_PRELOAD", "true")
    assert Settings().ready_when == "loaded"


def test_the_cpu_has_time_limits_of_its_own(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MODEL": model, "CONTROL": "open", "WHILE_HELD": "cpu", "STANDBY": "false"}.items():
        monkeypatch.setenv(f"SAM3_{name}", str(value))
    monkeypatch.setenv("SAM3_CPU_REQUEST_TIMEOUT", "1234")
    segmentation = build_app(Settings(), OpenControl()).state.segmentation
    assert segmentation._pool._timeouts == WorkerTimeouts(load=180, request=120, grace=3)
    assert segmentation._fallback._pool._timeouts == WorkerTimeouts(load=900, request=1234, grace=3)


@pytest.mark.parametrize("account", ["operator", "a:b:c", ":b", "a:"])
def test_service_accounts_have_a_namespace(model: Path, monkeypatch: pytest.MonkeyPatch, account: str) -> None:
    said = setting_errors(monkeypatch, SAM3_MODEL=model, SAM3_CONTROL_SERVICE_ACCOUNTS=account)
    assert f"SAM3_CONTROL_SERVICE_ACCOUNTS: '{account}' must be written namespace:name" in said


def test_a_number_out_of_range_is_named_by_its_variable(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = setting_errors(monkeypatch, SAM3_MODEL=model, SAM3_CONTROL="open", SAM3_GPU_MEMORY_MIB="-1")
    assert said == "SAM3_GPU_MEMORY_MIB: Input should be greater than or equal to 0"


def test_help_names_every_variable() -> None:
    assert all(Settings.variable(name) in describe(Settings) for name in Settings.model_fields)


@pytest.mark.parametrize("origin", ["label.example.com", "https://label.example.com/", "https://*.example.com", "null"])
def test_an_origin_is_written_as_a_browser_sends_it(model: Path, monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    said = setting_errors(monkeypatch, SAM3_MODEL=model, SAM3_CONTROL="open", SAM3_CORS_ORIGINS=origin)
    assert f"SAM3_CORS_ORIGINS: '{origin}' must be written as a browser sends it" in said


async def test_the_token_and_the_origins_are_those_of_the_settings(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = model / "config.json"
    page, other = "https://label.example.com:8443", "http://127.0.0.1:3000"
    values = {"MODEL": model, "CONTROL": "open", "INFERENCE_TOKEN_FILE": token, "CORS_ORIGINS": f"{page}, {other}"}
    for name, value in values.items():
        monkeypatch.setenv(f"SAM3_{name}", str(value))
    transport = httpx.ASGITransport(build_app(Settings(), OpenControl()))
    async with httpx.AsyncClient(transport=transport, base_url="http://sam3") as client:
        refused = await client.post("/api/v1/segment", json={}, headers={"Origin": page})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, page)
