"""Processes of this machine with the rights of a service account."""

import json
from pathlib import Path

import httpx

from devcluster import pki

_TOKEN_SECONDS = 7 * 24 * 3600


def write_kubeconfig(client: httpx.Client, run_dir: Path, namespace: str, account: str) -> Path:
    """Write a kubeconfig with a token of a service account into a run's folder; return its path."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": _TOKEN_SECONDS},
    }
    token = client.post(path, json=body).raise_for_status().json()["status"]["token"]
    config = json.loads((run_dir / "kubeconfig").read_text())
    config["users"][0]["user"] = {"token": token}
    file = run_dir / f"{namespace}-{account}.kubeconfig"
    pki.write_private(file, json.dumps(config))
    return file
