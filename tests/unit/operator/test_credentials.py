"""What a kubeconfig or a service account says about TLS, authentication and proxies reaches the API server."""

import base64
import datetime
import json
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.config import incluster_config

from gpu_relay.clients.kube import Kube, KubeError

Kubeconfig = Callable[..., Path]
CLIENT = "ann"


async def _describe(request: web.Request) -> web.Response:
    """Report how a request came."""
    certificate = request.get_extra_info("peercert") or {}
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    response = web.json_response(
        {
            "authorization": request.headers.get("Authorization"),
            "cookie": request.headers.get("Cookie"),
            "client": names,
            "url": str(request.url),
        }
    )
    response.set_cookie("sticky", "1")
    return response


def _app() -> web.Application:
    app = web.Application()
    app.router.add_route("GET", "/{path:.*}", _describe)
    return app


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_pem(authority: trustme.CA) -> bytes:
    return authority.cert_pem.bytes()


@pytest.fixture
async def server(authority: trustme.CA) -> AsyncIterator[TestServer]:
    """An API server named kubernetes.example, which asks for a client certificate and needs none."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("kubernetes.example").configure_cert(tls)
    authority.configure_trust(tls)
    tls.verify_mode = ssl.CERT_OPTIONAL
    server = TestServer(_app(), scheme="https")
    await server.start_server(ssl=tls)
    yield server
    await server.close()


@pytest.fixture
def kubeconfig(tmp_path: Path, server: TestServer, ca_pem: bytes) -> Kubeconfig:
    """Writes a kubeconfig for the server, with these fields of its cluster and user."""

    def write(user: dict[str, Any] | None = None, **cluster: Any) -> Path:
        trusted = {
            "server": f"https://127.0.0.1:{server.port}",
            "tls-server-name": "kubernetes.example",
            "certificate-authority-data": base64.b64encode(ca_pem).decode(),
        }
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "c", "cluster": {**trusted, **cluster}}],
            "users": [{"name": "u", "user": user or {}}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        }  # fmt: skip
        file = tmp_path / "config"
        file.write_text(json.dumps(config))
        return file

    return write


async def described(kubeconfig: Path | None) -> dict[str, Any]:
    """Connect, and return how the second request came."""
    file = None if kubeconfig is None else str(kubeconfig)
    async with Kube.connect(field_manager="test", timeout=10, kubeconfig=file) as kube:
        await kube.get("/api")
        return await kube.get("/api")


async def test_the_servers_name_in_its_certificate_may_be_given(kubeconfig: Kubeconfig) -> None:
    assert (await described(kubeconfig()))["authorization"] is None


async def test_another_name_in_the_certificate_is_refused(kubeconfig: Kubeconfig) -> None:
    with pytest.raises(KubeError, match="CERTIFICATE_VERIFY_FAILED"):
        await described(kubeconfig(**{"tls-server-name": "other.example"}))


async def test_an_unknown_authority_is_accepted_only_on_request(kubeconfig: Kubeconfig) -> None:
    unknown = base64.b64encode(trustme.CA().cert_pem.bytes()).decode()
    with pytest.raises(KubeError, match="CERTIFICATE_VERIFY_FAILED"):
        await described(kubeconfig(**{"certificate-authority-data": unknown}))
    await described(kubeconfig(**{"certificate-authority-data": unknown, "insecure-skip-tls-verify": True}))


async def test_a_client_certificate(kubeconfig: Kubeconfig, authority: trustme.CA) -> None:
    issued = authority.issue_cert("ann@example.com", common_name=CLIENT)
    certificate = b"".join(part.bytes() for part in issued.cert_chain_pems)
    user = {"client-certificate-data": certificate, "client-key-data": issued.private_key_pem.bytes()}
    encoded = {name: base64.b64encode(pem).decode() for name, pem in user.items()}
    assert (await described(kubeconfig(encoded)))["client"] == [CLIENT]


async def test_tokens(kubeconfig: Kubeconfig, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-file")
    plugin = tmp_path / "plugin"
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    printed = json.dumps({**credential, "status": {"token": "from-a-plugin"}})
    plugin.write_text(f"#!{sys.executable}\nprint({printed!r})\n")
    plugin.chmod(0o755)
    users = [
        {"token": "written"},
        {"tokenFile": str(tmp_path / "token")},
        {"exec": {"apiVersion": credential["apiVersion"], "command": str(plugin)}},
        {"username": "ann", "password": "secret"},
    ]
    sent = [(await described(kubeconfig(user)))["authorization"] for user in users]
    assert sent == ["Bearer written", "Bearer from-a-file", "Bearer from-a-plugin", "Basic YW5uOnNlY3JldA=="]


@pytest.mark.parametrize("by_environment", [False, True])
async def test_a_proxy_is_used_and_cookies_are_not_kept(
    kubeconfig: Kubeconfig, monkeypatch: pytest.MonkeyPatch, by_environment: bool
) -> None:
    async with TestServer(_app()) as proxy:
        url = str(proxy.make_url("/"))
        if by_environment:
            monkeypatch.setenv("HTTP_PROXY", url)
        cluster = {"server": "http://cluster.example"} | ({} if by_environment else {"proxy-url": url})
        second = await described(kubeconfig(**cluster))
    assert (second["url"], second["cookie"]) == ("http://cluster.example/api", None)


async def test_the_token_of_a_service_account_is_read_again(
    tmp_path: Path, ca_pem: bytes, monkeypatch: pytest.MonkeyPatch, authority: trustme.CA
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    server = TestServer(_app(), scheme="https")
    await server.start_server(ssl=tls)
    token, ca = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("first")
    ca.write_bytes(ca_pem)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(ca))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    async with Kube.connect(field_manager="test", timeout=10) as kube:
        before = (await kube.get("/api"))["authorization"]
        token.write_text("second")
        later = datetime.datetime.now() + datetime.timedelta(minutes=2)
        moved = SimpleNamespace(now=lambda: later)
        monkeypatch.setattr(incluster_config, "datetime", SimpleNamespace(datetime=moved, timedelta=datetime.timedelta))
        after = (await kube.get("/api"))["authorization"]
    await server.close()
    assert (before, after) == ("bearer first", "bearer second")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no such file"),
        ("", "NoneType"),
        ("contexts: [", "while parsing"),
        ("- a list", "list"),
    ],
)
async def test_a_kubeconfig_that_cannot_be_used_is_named(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "config"
    if content is not None:
        file.write_text(content)
    with pytest.raises(KubeError, match=f"cannot use the kubeconfig {file}: ") as refused:
        async with Kube.connect(field_manager="test", timeout=1, kubeconfig=str(file)):
            pass
    assert said in str(refused.value)
    assert "set KUBECONFIG" in str(refused.value)
