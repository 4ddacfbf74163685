"""The page's HTTP, without a cluster: what every answer carries, what is refused before anybody is asked."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import trustme

from relay_page.app import STATIC, create_app
from relay_page.settings import PageSettings

TOKEN = {"Authorization": "Bearer some.token"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pki") / "ca.crt"
    trustme.CA().cert_pem.write_to_path(file)
    return file


@pytest.fixture
async def client(authority: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A page whose API server does not answer."""
    settings = PageSettings(api_server="https://127.0.0.1:1", ca_file=authority, viewers=1)
    app = create_app(settings)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://page") as client,
    ):
        yield client


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/healthz", "/api/feed", "/nowhere"])
async def test_every_answer_keeps_the_browser_in(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert "set-cookie" not in headers


async def test_files_are_served(client: httpx.AsyncClient) -> None:
    for file in STATIC.iterdir():
        assert (await client.get(f"/static/{file.name}")).content == file.read_bytes()
    assert (await client.get("/static/../app.py")).status_code == 404


@pytest.mark.parametrize("token", ["", "Basic eDp5", "Bearer ", "Bearer two words", "Bearer ümlaut"])
async def test_without_a_token_the_api_server_is_not_asked(client: httpx.AsyncClient, token: str) -> None:
    answer = await client.get("/api/feed", headers={b"Authorization": token.encode()})
    assert (answer.status_code, answer.json()["message"]) == (
        401,
        "Enter a token: `kubectl create token` prints one.",
    )


async def test_an_unreachable_api_server_is_reported(client: httpx.AsyncClient) -> None:
    for path in ("/api/feed", "/api/feed", "/api/jobs/vision/digits"):  # and the place of a viewer is free again
        answer = await client.get(path, headers=TOKEN)
        assert answer.status_code == 502
        assert answer.json()["message"].startswith("The API server does not answer: ")


@pytest.mark.parametrize("path", ["..", "a%2F..%2Fsecrets", "UPPER", "a b", "x" * 64, "a%3Fwatch=1", "%C3%A4"])
async def test_names_lead_nowhere_else(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"/api/jobs/vision/{path}/predictions", headers=TOKEN)
    assert answer.status_code in {400, 404}, answer.text
    assert (await client.get("/api/feed", params={"namespace": path}, headers=TOKEN)).status_code in {400, 422}


def test_what_the_browser_loads_is_ours_and_makes_no_markup() -> None:
    """No outside origin, no inline script or style, and no way from a text to markup."""
    for file in STATIC.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]+\.|@import|\burl\(", text), file.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", text), file.name
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", page)


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"GPU_RELAY_PAGE_CA_FILE=.*ca\.crt: .*No such file"):
        create_app(PageSettings(ca_file=tmp_path / "ca.crt"))
