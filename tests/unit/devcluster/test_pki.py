import json
import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest

from devcluster import pki


@pytest.fixture
def server(tmp_path: Path) -> tuple[pki.Authority, ssl.SSLContext]:
    authority = pki.Authority()
    authority.issue("kube-apiserver", hosts=("localhost", "10.96.0.1")).write(tmp_path, "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    return authority, context


def handshake(server: ssl.SSLContext, authority: pki.Authority, name: str) -> None:
    client = ssl.create_default_context(cadata=authority.certificate.decode())
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # the default since Python 3.13
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client.wrap_socket(ours, server_hostname=name).close()
    finally:
        ours.close()
        thread.join()


@pytest.mark.parametrize("name", ["localhost", "10.96.0.1"])
def test_strict_clients_trust_the_server_at_its_names(server: tuple[pki.Authority, ssl.SSLContext], name: str) -> None:
    authority, context = server
    handshake(context, authority, name)


def test_another_name_is_not_trusted(server: tuple[pki.Authority, ssl.SSLContext]) -> None:
    authority, context = server
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(context, authority, "example.org")


def test_another_authority_is_not_trusted(server: tuple[pki.Authority, ssl.SSLContext]) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server[1], pki.Authority(), "localhost")


def test_a_kubeconfig_embeds_everything() -> None:
    authority = pki.Authority()
    config = json.loads(pki.kubeconfig("https://127.0.0.1:1", authority.certificate, authority.issue("admin", "g")))
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:1"
    assert set(config["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}
    assert config["contexts"][0]["name"] == config["current-context"]


def test_private_files_are_their_owners(tmp_path: Path) -> None:
    pki.write_private(tmp_path / "key", "secret")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
