# SPDX-License-Identifier: AGPL-3.0-only
"""Ask a SAM3 server for the objects on an image (docs/sam3-server.md), and wait while a training job has its GPU."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

from yolo_trainer.errors import ConfigInvalidError, DatasetInvalidError, TrainerError
from yolo_trainer.job.labelling import LabelPrompt
from yolo_trainer.labelling.findings import FoundObject, without_repeats

log = logging.getLogger(__name__)

_TIMEOUT = 600.0
"""Seconds for one answer: the server may have a queue."""
_LATER = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_NO_ENTRY = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_PAUSE = 5.0
"""Seconds until the next try, where the server does not say."""
_LONGEST_PAUSE = 60.0
_PATIENCE = 600.0
"""Seconds without any answer after which the labelling ends; a later run continues it."""
_SAY_EVERY = 60.0

# In-cluster addresses: no proxy from the environment.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Sam3Client:
    """A client for many threads. Every request has the same prompts."""

    def __init__(self, server: str, prompts: Sequence[LabelPrompt], classes: Sequence[str], token: str = "") -> None:
        self._url = f"{server.rstrip('/')}/api/v1/segment"
        self._prompts = prompts
        self._classes = [classes.index(prompt.name) for prompt in prompts]
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._ended = threading.Event()
        self._heard = time.monotonic()
        self._said = 0.0
        self.waited = 0.0
        """Seconds that all threads together waited for the server's GPU."""

    def end(self) -> None:
        """End all waits; requests that wait raise TrainerError."""
        self._ended.set()

    def find(self, name: str, image: bytes, share: float = 1.0) -> tuple[int, int, tuple[FoundObject, ...]]:
        """Return the width and height of an image, in pixels, and the objects on it.

        Args:
            name: the image's name, for messages.
            image: the content of an image file.
            share: of each prompt's threshold, from which objects count.

        Raises:
            DatasetInvalidError: the server cannot read the image.
            ConfigInvalidError: the server refuses the prompts or the token, or is no SAM3 server.
            TrainerError: the server gives no answer for minutes.

        """
        asked = [{"text": prompt.text, "threshold": prompt.threshold * share} for prompt in self._prompts]
        body = {"image": base64.b64encode(image).decode(), "prompts": asked, "format": "polygon"}
        answer = self._ask(name, json.dumps(body).encode())
        try:
            objects = [
                FoundObject(class_id, one["score"], tuple(one["box"]), tuple(map(tuple, one["polygons"])))
                for class_id, result in zip(self._classes, answer["results"], strict=True)
                for one in result["detections"]
            ]
            return answer["width"], answer["height"], without_repeats(objects)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigInvalidError(f"{self._url} does not answer as a SAM3 server does: {error}") from error

    def _ask(self, name: str, body: bytes) -> Any:
        while True:
            request = urllib.request.Request(self._url, data=body, headers=self._headers, method="POST")  # noqa: S310 - http(s) by its type
            try:
                return self._answer(request)
            except urllib.error.HTTPError as error:
                pause = self._pause_after(error, name)
            except (OSError, HTTPException, ValueError) as error:
                pause = self._pause_without_answer(error)
            self._wait(pause)

    def _answer(self, request: urllib.request.Request) -> Any:
        with _opener.open(request, timeout=_TIMEOUT) as response:
            answer = json.loads(response.read())
        self._heard = time.monotonic()
        return answer

    def _pause_after(self, error: urllib.error.HTTPError, name: str) -> float:
        """Return the seconds until the next try; raise if another try does not help."""
        with error:
            detail = _detail(error.read())
        self._heard = time.monotonic()
        if error.code in _LATER:
            self._say(f"SAM3 cannot answer now, and the labelling waits: {detail}")
            return _seconds(error.headers.get("Retry-After"))
        if error.code in _NO_ENTRY:
            raise ConfigInvalidError(f"{self._url} refuses the request ({error.code}: {detail}): set tokenFile")
        if error.code == HTTPStatus.UNPROCESSABLE_ENTITY:
            raise ConfigInvalidError(f"SAM3 refuses the request for {name}: {detail}")
        if error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
            if error.code == HTTPStatus.NOT_FOUND:
                raise ConfigInvalidError(f"{self._url} is not found: server must be the address of a SAM3 server")
            raise DatasetInvalidError(f"SAM3 cannot read {name}: {detail}")
        return self._pause_without_answer(error)

    def _pause_without_answer(self, error: Exception) -> float:
        if time.monotonic() - self._heard > _PATIENCE:
            raise TrainerError(f"{self._url} has given no answer for {_PATIENCE:.0f} s: {error}") from error
        self._say(f"{self._url} gives no answer, and the labelling tries again: {error}")
        return _PAUSE

    def _wait(self, seconds: float) -> None:
        self.waited += seconds
        if self._ended.wait(seconds):
            raise TrainerError("the labelling has ended")

    def _say(self, sentence: str) -> None:
        now = time.monotonic()
        if not self._said or now - self._said > _SAY_EVERY:
            self._said = now
            log.warning("%s", sentence)


def _detail(content: bytes) -> str:
    try:
        problem = json.loads(content)
        return str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return content[:200].decode(errors="replace")


def _seconds(header: str | None) -> float:
    return min(_LONGEST_PAUSE, float(header)) if header and header.isdigit() else _PAUSE
