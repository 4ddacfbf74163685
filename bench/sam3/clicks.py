"""The first click on an image, with its pass through the vision backbone, against further ones. Times in seconds."""

import base64
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.programs.sam3 import Server

FURTHER = 5


@dataclass(frozen=True)
class Clicks:
    """The first click, and medians of further ones: with the image sent again, and with its id instead."""

    first: float
    again: float
    by_id: float


def measure(server: Server, photograph: Path) -> Clicks:
    """Load the model, then click on the photograph; raises httpx.HTTPStatusError."""
    server.client.post("/api/v1/load").raise_for_status()
    image = {"image": base64.b64encode(photograph.read_bytes()).decode()}
    first, answer = _click(server, 0, image)
    again = [_click(server, number, image)[0] for number in range(1, 1 + FURTHER)]
    known = {"image_id": answer["image_id"]}
    by_id = [_click(server, number, known)[0] for number in range(1, 1 + FURTHER)]
    return Clicks(first, statistics.median(again), statistics.median(by_id))


def _click(server: Server, number: int, image: dict[str, str]) -> tuple[float, Any]:
    body = image | {"objects": [{"points": [{"x": 100 + number, "y": 200}]}]}
    began = time.perf_counter()
    answer = server.client.post("/api/v1/segment", json=body).raise_for_status().json()
    return time.perf_counter() - began, answer
