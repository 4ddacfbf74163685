"""The pods of a run as a watch shows them: when each was created, ran and ended, and on which node."""

import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from devcluster.controlplane import api_client

_ENDS = frozenset({"Succeeded", "Failed"})


@dataclass
class Life:
    """One pod's life. Times are seconds since the epoch, 0 for what has not happened yet."""

    job: str
    node: str = ""
    created: float = 0.0
    running: float = 0.0
    ended: float = 0.0


@dataclass
class PodWatch:
    """Watches pods with a label for the length of a `with` block."""

    run_dir: Path
    namespace: str
    label: str
    """Its value names the job."""
    lives: dict[str, Life] = field(default_factory=dict)
    done: int = 0

    def __enter__(self) -> Self:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    def _follow(self) -> None:
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        version = ""
        with api_client(self.run_dir) as api:
            while not self._over.is_set():
                query = {
                    "watch": "1", "labelSelector": self.label, "resourceVersion": version or "0",
                    "timeoutSeconds": "300", "allowWatchBookmarks": "true",
                }  # fmt: skip
                try:
                    with api.stream("GET", path, params=query, timeout=320) as answer:
                        for line in answer.iter_lines():
                            version = self._see(json.loads(line)) if line else version
                            if self._over.is_set():
                                return
                except httpx.TransportError:
                    time.sleep(0.2)

    def _see(self, event: dict[str, Any]) -> str:
        now, raw = time.time(), event["object"]
        if event["type"] == "ERROR":
            return ""
        if event["type"] in {"ADDED", "MODIFIED"}:
            meta, phase = raw["metadata"], raw.get("status", {}).get("phase", "")
            life = self.lives.setdefault(meta["name"], Life(meta["labels"][self.label], created=now))
            life.node = life.node or _node(raw)
            if phase == "Running":
                life.running = life.running or now
            elif phase in _ENDS and not life.ended:
                life.ended = now
                self.done += 1
        return str(raw["metadata"].get("resourceVersion", ""))


def _node(raw: dict[str, Any]) -> str:
    return str(raw.get("spec", {}).get("nodeName", ""))
