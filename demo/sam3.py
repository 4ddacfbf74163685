"""SAM3 as a user of it sees it: health, GPU, detections."""

import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx

PROMPTS = ("person", "bus")
_THRESHOLD = 0.0
"""A random-weight model is sure of nothing: whatever it finds is wanted."""
_TIMEOUT_SECONDS = 180.0


@dataclass(frozen=True)
class Detections:
    """What one image gave."""

    instances: dict[str, int]
    """Instances by prompt."""
    model_seconds: float
    seconds: float
    """From sending the request to having the answer: with an unloaded model, loading it is in there."""

    @property
    def total(self) -> int:
        """All instances."""
        return sum(self.instances.values())


@dataclass(frozen=True)
class Gpu:
    """SAM3's GPU, measured now, in MiB."""

    name: str
    total: int
    reserved: int
    used: int
    free: int


@dataclass(frozen=True)
class Refusal:
    """An answer that is no detection."""

    status: int
    retry_after: str
    detail: str


class Sam3Error(Exception):
    """SAM3 refused; the message has its words."""


class Sam3:
    """A client of one SAM3 pod.

    Its methods raise httpx.HTTPError when the pod does not answer, and Sam3Error when it answers with an error.
    """

    def __init__(self, base_url: str, transport: httpx.BaseTransport | None = None) -> None:
        self.base_url = base_url
        self._client = httpx.Client(base_url=base_url, trust_env=False, timeout=_TIMEOUT_SECONDS, transport=transport)

    def health(self) -> dict[str, Any]:
        """Return `/health`."""
        return self._get("/health")

    def gpu(self) -> Gpu:
        """Return the figures of `/api/v1/gpu`."""
        seen = self._get("/api/v1/gpu")
        return Gpu(seen["name"], seen["total_mib"], seen["reserved_mib"], seen["used_mib"], seen["free_mib"])

    def detect(self, photograph: Path) -> Detections:
        """Look for the demo's prompts in a photograph."""
        started = time.monotonic()
        answer = self._segment(photograph)
        seconds = time.monotonic() - started
        body = _body(answer)
        found = {result["prompt"]: len(result["detections"]) for result in body["results"]}
        return Detections(found, body["model_seconds"], seconds)

    def try_to_detect(self, photograph: Path) -> Refusal | None:
        """Look for the demo's prompts in a photograph; None when that was possible."""
        answer = self._segment(photograph)
        if answer.is_success:
            return None
        return Refusal(answer.status_code, answer.headers.get("Retry-After", ""), _detail(answer))

    def _segment(self, photograph: Path) -> httpx.Response:
        data = {"prompt": list(PROMPTS), "threshold": str(_THRESHOLD)}
        with photograph.open("rb") as image:
            files = {"image": (photograph.name, image, "image/jpeg")}
            return self._client.post("/api/v1/segment", data=data, files=files)

    def _get(self, path: str) -> dict[str, Any]:
        return _body(self._client.get(path))


def photograph() -> Path:
    """Return the street scene with a bus that the package `ultralytics` ships.

    Raises FileNotFoundError when the package or the image is not there.
    """
    spec = find_spec("ultralytics")  # found, not imported: importing it takes seconds
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "assets" / "bus.jpg"
        if path.is_file():
            return path
    raise FileNotFoundError("the package ultralytics with its assets/bus.jpg: install requirements/dev.txt")


def _body(answer: httpx.Response) -> dict[str, Any]:
    if not answer.is_success:
        request = answer.request
        raise Sam3Error(f"{request.method} {request.url.path}: status {answer.status_code}: {_detail(answer)}")
    body: dict[str, Any] = answer.json()
    return body


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("detail", ""))
    except ValueError:
        return answer.text[:200]
