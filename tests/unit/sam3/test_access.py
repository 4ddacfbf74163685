"""Who may ask for inference: every client, or bearers of the token; and scripts of which web pages."""

import json
from pathlib import Path

import httpx
import pytest

from residency.api.auth import TokenFile
from sam3_server.api.access import Access
from tests.unit.sam3.conftest import Resident
from tests.unit.sam3.test_roboflow import IMAGE, TEXT

PAGE = "https://label.example.com"
SEGMENT, CONCEPT, PREDICT = "/api/v1/segment", "/sam3/concept_segment", "/v1/predict"
VISUAL, EMBED = "/sam3/visual_segment", "/sam3/embed_image"
BODIES = {
    SEGMENT: {"image": IMAGE["value"], "prompts": ["dog"]},
    CONCEPT: {"image": IMAGE, "prompts": [TEXT]},
    VISUAL: {"image": IMAGE, "prompts": [{"points": [{"x": 1, "y": 1}]}]},
    EMBED: {"image": IMAGE},
    PREDICT: {"model": "segment_anything_3", "image": IMAGE["value"], "params": {"text_prompt": "dog"}},
}
PAGES = pytest.mark.parametrize("resident", [{"access": Access(origins=(PAGE,))}], indirect=True)


@pytest.fixture
def token_file(resident: Resident, tmp_path: Path) -> Path:
    """A token that the running server asks for."""
    file = tmp_path / "token"
    file.write_text("let-me-in\n")
    resident.app.state.inference_access = TokenFile(file)
    return file


async def ask(resident: Resident, route: str, query: str = "", **headers: str) -> httpx.Response:
    return await resident.client.post(f"{route}{query}", json=BODIES[route], headers=headers)


@pytest.mark.parametrize("route", BODIES)
async def test_without_a_token_file_every_client_may_ask(resident: Resident, route: str) -> None:
    assert (await ask(resident, route)).status_code == 200
    assert (await ask(resident, route, "?api_key=any", Authorization="Bearer any")).status_code == 200


@pytest.mark.parametrize("route", BODIES)
async def test_the_token_is_in_a_header_or_in_the_query(resident: Resident, token_file: Path, route: str) -> None:
    assert (await ask(resident, route, Authorization="Bearer let-me-in")).status_code == 200
    assert (await ask(resident, route, "?api_key=let-me-in")).status_code == 200
    assert (await ask(resident, route, Token="let-me-in")).status_code == 200


@pytest.mark.parametrize("route", BODIES)
@pytest.mark.parametrize(
    ("query", "header"),
    [("", ""), ("", "Bearer forged"), ("", "Basic bGV0LW1lLWlu"), ("?api_key=forged", ""), ("?api_key=", "")],
)
async def test_no_token_and_a_wrong_one_are_refused(
    resident: Resident, token_file: Path, route: str, query: str, header: str
) -> None:
    refused = await ask(resident, route, query, **({"Authorization": header} if header else {}))
    assert refused.status_code == 401
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["www-authenticate"] == "Bearer"
    assert not resident.script.launched, "it costs no load"
    assert resident.coordinator.holds.refused == 0


async def test_the_rest_needs_no_token(resident: Resident, token_file: Path) -> None:
    for path in ("/health", "/ready", "/api/v1/gpu", "/metrics"):
        assert (await resident.client.get(path)).status_code == 200
    assert (await resident.unload()).status_code == 200


async def test_a_token_is_replaced_while_the_server_runs(resident: Resident, token_file: Path) -> None:
    replaced(token_file, "another")
    assert (await ask(resident, SEGMENT, Authorization="Bearer let-me-in")).status_code == 401
    assert (await ask(resident, SEGMENT, Authorization="Bearer another")).status_code == 200
    replaced(token_file, None)
    unknown = await ask(resident, SEGMENT, Authorization="Bearer another")
    assert unknown.status_code == 503
    assert "the token file cannot be read" in unknown.json()["detail"]


def replaced(file: Path, token: str | None) -> None:
    """Write another token, or remove the file."""
    file.unlink()
    if token is not None:
        file.write_text(token)


async def preflight(resident: Resident, origin: str) -> httpx.Response:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    return await resident.client.options(SEGMENT, headers={"Origin": origin, **asked})


@PAGES
async def test_a_browser_may_ask_for_a_page_of_this_origin(resident: Resident, token_file: Path) -> None:
    allowed = await preflight(resident, PAGE)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, PAGE)
    answer = await ask(resident, SEGMENT, Origin=PAGE, Authorization="Bearer let-me-in")
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
    assert "Retry-After" in answer.headers["access-control-expose-headers"]
    refused = await ask(resident, SEGMENT, Origin=PAGE)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)


@PAGES
async def test_a_page_of_another_origin_reads_nothing(resident: Resident) -> None:
    refused = await preflight(resident, "https://evil.example.com")
    assert refused.status_code == 400
    answer = await ask(resident, SEGMENT, Origin="https://evil.example.com")
    assert "access-control-allow-origin" not in {**refused.headers, **answer.headers}


async def test_without_origins_no_answer_names_one(resident: Resident) -> None:
    assert (await preflight(resident, PAGE)).status_code == 405
    assert "access-control-allow-origin" not in (await ask(resident, SEGMENT, Origin=PAGE)).headers


async def test_the_document_says_how_to_send_the_token(resident: Resident) -> None:
    document = json.loads((await resident.client.get("/openapi.json")).text)
    for route in BODIES:
        operation = document["paths"][route]["post"]
        assert operation["security"] == [{"HTTPBearer": []}]
        assert "401" in operation["responses"]
        assert [each["name"] for each in operation["parameters"]] == ["api_key", "token"]
