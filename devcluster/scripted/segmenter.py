"""A SAM3 server that knows the truth about drawn images, and errs on request: it stands for SAM3 where labels count.

A image has red discs (`scratch`) and blue discs (`dent`) on a grey ground. The server finds them by their colours.
"""

import base64
import hashlib
import json
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np

COLOURS = {"scratch": (220, 40, 40), "dent": (40, 60, 220)}
"""Red, green and blue of the objects of each class."""
GROUND = (128, 128, 128)
_REACH = 60
"""How far a pixel's colour may be from that of its class, after JPEG."""
_LEAST_PIXELS = 20


def draw_image(file: Path, rng: random.Random, edge: int = 160, objects: int = 3) -> list[tuple[str, list[float]]]:
    """Draw a image, and return the class and the box (x1, y1, x2, y2) of each object. They do not touch."""
    image = np.full((edge, edge, 3), GROUND, dtype=np.uint8)
    noise = np.random.default_rng(rng.randrange(2**32)).integers(-20, 21, (8, 8, 3))
    image = np.clip(image + cv2.resize(noise.astype(np.float32), (edge, edge)), 0, 255).astype(np.uint8)
    cells = rng.sample(range(9), objects)
    drawn = []
    for cell in cells:
        radius, third = rng.randint(edge // 16, edge // 9), edge // 3
        x = cell % 3 * third + third // 2 + rng.randint(-3, 3)
        y = cell // 3 * third + third // 2 + rng.randint(-3, 3)
        name = rng.choice(sorted(COLOURS))
        cv2.circle(image, (x, y), radius, COLOURS[name][::-1], -1)
        drawn.append((name, [float(value) for value in (x - radius, y - radius, x + radius + 1, y + radius + 1)]))
    cv2.imwrite(str(file), image)
    return drawn


@dataclass
class Errors:
    """How often the server errs, each from 0 to 1. Errors depend on the bytes of an image: they repeat with it."""

    missed: float = 0.0
    shifted: float = 0.0
    renamed: float = 0.0


@dataclass
class ScriptedSegmenter:
    """Answers `POST /api/v1/segment`, with outlines."""

    errors: Errors = field(default_factory=Errors)
    held: bool = False
    """While true, it answers as the server does while a training job has its GPU."""
    token: str = ""
    asked: Counter[str] = field(default_factory=Counter)
    """Requests for each image, by the hash of its bytes."""
    before_answer: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, headers: Any, body: bytes) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Return the status, the content and the headers of an answer."""
        self.before_answer()
        if path != "/api/v1/segment":
            return 404, {"detail": "Not Found"}, {}
        if self.token and headers.get("Authorization") != f"Bearer {self.token}":
            return 401, {"detail": "a token is needed"}, {}
        if self.held:
            return 503, {"detail": "the GPU is used by vision/digits"}, {"Retry-After": "1"}
        asked = json.loads(body)
        content = base64.b64decode(asked["image"])
        with self._lock:
            self.asked[hashlib.sha256(content).hexdigest()] += 1
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            return 415, {"detail": "not an image"}, {}
        rng = random.Random(hashlib.sha256(content).digest())
        found = [self._erring(name, polygon, rng) for name in COLOURS for polygon in _outlines(image, name)]
        results = [
            {
                "prompt": prompt["text"],
                "class_id": place,
                "omitted": 0,
                "detections": [
                    each[1]
                    for each in found
                    if each and each[0] == prompt["text"] and each[1]["score"] >= prompt.get("threshold", 0.5)
                ],
            }
            for place, prompt in enumerate(asked["prompts"])
        ]
        height, width = image.shape[:2]
        return 200, {"width": width, "height": height, "model_seconds": 0.01, "results": results}, {}

    def _erring(self, name: str, polygon: list[float], rng: random.Random) -> tuple[str, dict[str, Any]] | None:
        score, lot = rng.uniform(0.6, 0.99), rng.random()
        xs, ys = polygon[::2], polygon[1::2]
        if lot < self.errors.missed:
            return None
        if lot < self.errors.missed + self.errors.shifted:
            step = 0.6 * (max(xs) - min(xs))
            xs = [x + step for x in xs]
            polygon = [value for point in zip(xs, ys, strict=True) for value in point]
        elif lot < self.errors.missed + self.errors.shifted + self.errors.renamed:
            name = next(other for other in COLOURS if other != name)
        box = [min(xs), min(ys), max(xs), max(ys)]
        return name, {"box": box, "score": score, "polygons": [polygon]}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        segmenter = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, content, headers = segmenter.answer(self.path, self.headers, body)
                answer = json.dumps(content).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _outlines(image: Any, name: str) -> list[list[float]]:
    """Return the outline of each disc of a class: x, y of each corner in turn, in pixels."""
    away = np.linalg.norm(image.astype(np.int16) - np.array(COLOURS[name][::-1]), axis=2)
    contours, _ = cv2.findContours((away < _REACH).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [
        [float(value) for value in contour.ravel()] for contour in contours if cv2.contourArea(contour) > _LEAST_PIXELS
    ]
