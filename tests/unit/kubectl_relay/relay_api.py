"""A scripted API server on loopback, and a kubeconfig for it."""

import gc
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pydantic import BaseModel

from gpu_relay.domain.objects.job import Job
from kubectl_relay.commands import cli

NOT_FOUND = (404, b"404 page not found\n")


@dataclass
class Api:
    """Answers by path, each once and the last one indefinitely; what has no answer is not found."""

    answers: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, body: bytes | dict[str, Any], status: int = 200) -> None:
        """Add an answer to those of a path."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers.setdefault(path, []).append((status, raw))

    def refuse(self, path: str, status: int, message: str, **details: str) -> None:
        """Add an error to the answers of a path, as the API server words it."""
        self.answer(path, {"kind": "Status", "code": status, "message": message, "details": details}, status)

    def take(self, path: str) -> tuple[int, bytes]:
        """Return the answer to a request."""
        self.asked.append(path)
        known = self.answers.get(path.partition("?")[0], [])
        return known.pop(0) if len(known) > 1 else known[0] if known else NOT_FOUND


@contextmanager
def scripted_api() -> Iterator[Api]:
    """Serve an API on loopback."""
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = api.take(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield api
    server.shutdown()
    server.server_close()


@contextmanager
def api_in_use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """Serve an API, and use a kubeconfig for it, which `folder` gets."""
    with scripted_api() as api:
        write_kubeconfig(folder / "config", api.url)
        monkeypatch.setenv("KUBECONFIG", str(folder / "config"))
        yield api


def invoke(*arguments: str) -> Result:
    """Run a command with the kubeconfig in use."""
    gc.collect()  # closes an earlier command's connections now, not within this command's event loop
    return CliRunner().invoke(cli, [*arguments, "--kubeconfig", os.environ["KUBECONFIG"]], standalone_mode=False)


def write_kubeconfig(file: Path, server: str, **user: str) -> None:
    """Write a kubeconfig whose only context is `here`, in namespace vision."""
    context = {"cluster": "c", "user": "u", "namespace": "vision"}
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t", **user}}],
        "contexts": [{"name": "here", "context": context}],
    }  # fmt: skip
    file.write_text(json.dumps(config))


def raw(of: Job) -> dict[str, Any]:
    """Return a job as the API server has it."""
    meta = {"namespace": of.key.namespace, "name": of.key.name, "uid": of.key.uid, "generation": 1}
    return {
        "metadata": {**meta, "resourceVersion": "1", "creationTimestamp": of.created},
        "spec": _written(of.spec),
        "status": _written(of.status),
    }


def _written(part: BaseModel) -> dict[str, Any]:
    return part.model_dump(mode="json", by_alias=True, exclude_none=True)
