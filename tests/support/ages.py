"""Objects that are older than the test. The API server sets the time of creation itself, so it is changed in etcd."""

import json
from base64 import b64decode, b64encode
from pathlib import Path

import httpx

from devcluster.processes import Processes
from tests.support.page import ago

_URL = "--advertise-client-urls="


class Etcd:
    """The store of a control plane of the tests, through etcd's JSON gateway on loopback."""

    def __init__(self, run_dir: Path) -> None:
        process = Processes(run_dir).all()["etcd"]
        flags = Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")
        url = next(flag.removeprefix(_URL) for flag in flags if flag.startswith(_URL))
        self._client = httpx.Client(base_url=url, trust_env=False)

    def backdate(self, namespace: str, job: str, minutes: float) -> None:
        """Let a job have been created so many minutes ago."""
        key = _base64(f"/registry/gpurelay.dev/yolotrainingjobs/{namespace}/{job}")
        (found,) = self._client.post("/v3/kv/range", json={"key": key}).raise_for_status().json()["kvs"]
        stored = json.loads(b64decode(found["value"]))
        stored["metadata"]["creationTimestamp"] = ago(minutes)
        self._client.post("/v3/kv/put", json={"key": key, "value": _base64(json.dumps(stored))}).raise_for_status()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()
