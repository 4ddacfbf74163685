"""Certificates and kubeconfigs of one run: a CA of its own, P-256 keys, valid for a year."""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

_VALID = timedelta(days=365)
_ORGANIZATION = "gpu-relay-local"
"""Kubernetes takes the organization of a certificate for the user's group; nothing is bound to this one."""
_NO_HOST = "client.invalid"
"""The name in certificates of clients: trustme marks the list of names as critical, and Go refuses an empty one."""


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> None:
        """Write `<name>.crt` and `<name>.key`."""
        (folder / f"{name}.crt").write_bytes(self.certificate)
        write_private(folder / f"{name}.key", self.key)


class Authority:
    """A certificate authority that lives as long as its run; its key stays in memory."""

    def __init__(self) -> None:
        self._ca = trustme.CA(organization_name=_ORGANIZATION, organization_unit_name="local CA")
        self.certificate = self._ca.cert_pem.bytes()

    def issue(self, user: str, group: str = _ORGANIZATION, hosts: tuple[str, ...] = ()) -> KeyPair:
        """Issue a certificate for a user of the API (and, with `hosts`, for a server at these names and addresses)."""
        issued = self._ca.issue_cert(
            *(hosts or (_NO_HOST,)),
            common_name=user,
            organization_name=group,
            organization_unit_name=user,
            not_after=datetime.now(UTC) + _VALID,
        )
        return KeyPair(issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes())


def kubeconfig(server: str, authority: bytes, user: KeyPair) -> str:
    """Return a kubeconfig (JSON, which is YAML) with everything embedded, for one user at one server."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "local",
                    "cluster": {"server": server, "certificate-authority-data": _b64(authority)},
                }
            ],
            "users": [
                {
                    "name": "user",
                    "user": {"client-certificate-data": _b64(user.certificate), "client-key-data": _b64(user.key)},
                }
            ],
            "contexts": [{"name": "local", "context": {"cluster": "local", "user": "user"}}],
            "current-context": "local",
        },
        indent=1,
    )


def write_private(path: Path, content: bytes | str) -> None:
    """Write a file that only its owner may read."""
    path.touch(mode=0o600)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
