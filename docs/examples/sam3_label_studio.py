"""SAM3 as a machine learning backend of Label Studio (docs/labelling-tools.md).

    SAM3_URL=http://127.0.0.1:8000 LABEL_STUDIO_URL=https://labels.example.com LABEL_STUDIO_API_KEY=… \
      flask --app sam3_label_studio run --port 9090

It needs label-studio-ml and pycocotools. Without a click, it looks for the labels of the project. With clicks or a
rectangle of smart tools, it outlines that object. Regions are brushes, polygons or rectangles, as the project has them.
"""

import base64
import logging
import os
import time
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import requests
from label_studio_ml.api import init_app
from label_studio_ml.model import LabelStudioMLBase
from label_studio_sdk.converter import brush
from pycocotools import mask as coco

_URL = f"{os.environ['SAM3_URL'].rstrip('/')}/api/v1/segment"
_TOKEN = os.environ.get("SAM3_TOKEN")
_THRESHOLD = float(os.environ.get("SAM3_THRESHOLD", "0.5"))
_MOST_WAIT = float(os.environ.get("SAM3_MAX_WAIT", "90"))  # Label Studio itself waits 100 s: ML_TIMEOUT_PREDICT
_CLICK_WAIT = 3.0
_ANSWER_SECONDS = 90
_LATER = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_FORMS = {"BrushLabels": "rle", "PolygonLabels": "polygon", "RectangleLabels": "box"}
_OUTLINE_PIXELS = 1.0

_log = logging.getLogger(__name__)


class BusyError(Exception):
    """SAM3 answers later than this request may wait, such as after a training job."""


class Sam3(LabelStudioMLBase):  # type: ignore[misc]  # label_studio_ml has no types
    """Labels the images of a project; while a training job has the GPU, batches wait and clicks find nothing."""

    def setup(self) -> None:
        """Name the predictions, so that Label Studio knows which tasks have them."""
        self.set("model_version", "SAM3")

    def predict(
        self, tasks: list[dict[str, Any]], context: dict[str, Any] | None = None, **kwargs: Any
    ) -> list[dict[str, Any]]:
        """Return a prediction for each task; `context` has the clicks on the image of the only task."""
        kind, control, image, key = self._output()
        if not context or not context.get("result"):
            words = list(self.label_interface.get_control(control).labels)
            query = {"prompts": words, "threshold": _THRESHOLD, "format": _FORMS[kind]}
            deadline = time.monotonic() + _MOST_WAIT
            answers = [self._ask(query, task, key, deadline) for task in tasks]
        else:
            words = [_label(context["result"])]
            query = {"objects": [_clicked(context["result"])], "format": _FORMS[kind]}
            try:
                answers = [self._ask(query, tasks[0], key, time.monotonic() + _CLICK_WAIT)]
            except BusyError as busy:
                _log.warning("A click has no result: %s", busy)
                return [{"result": [], "model_version": "SAM3"}]
        names = {"from_name": control, "to_name": image}
        return [_prediction([names | region for region in _regions(answer, words, kind)]) for answer in answers]

    def _output(self) -> tuple[str, str, str, str]:
        for kind in _FORMS:
            try:
                return (kind, *self.get_first_tag_occurence(kind, "Image"))
            except ValueError:
                continue
        raise ValueError(f"the labelling configuration has an Image, but none of {', '.join(_FORMS)} for it")

    def _ask(self, query: dict[str, Any], task: dict[str, Any], key: str, deadline: float) -> Any:
        content = Path(self.get_local_path(task["data"][key], task_id=task["id"])).read_bytes()
        body = query | {"image": base64.b64encode(content).decode()}
        headers = {"Authorization": f"Bearer {_TOKEN}"} if _TOKEN else {}
        while True:
            answer = requests.post(_URL, json=body, headers=headers, timeout=_ANSWER_SECONDS)
            if answer.status_code == HTTPStatus.OK:
                return answer.json()
            reason = f"SAM3 answers {answer.status_code}: {answer.json()['detail']}"
            if answer.status_code not in _LATER:
                raise RuntimeError(reason)
            pause = int(answer.headers["Retry-After"])
            if time.monotonic() + pause > deadline:
                raise BusyError(f"{reason} (Retry-After: {pause} s)")
            time.sleep(pause)


def _label(prompts: list[dict[str, Any]]) -> str:
    label: str = prompts[-1]["value"][prompts[-1]["type"]][0]
    return label


def _clicked(prompts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one object in pixels; Label Studio has per cent of the image's size."""
    points, clicked = [], {}
    for prompt in prompts:
        value, across, down = prompt["value"], prompt["original_width"] / 100, prompt["original_height"] / 100
        x, y = value["x"] * across, value["y"] * down
        if prompt["type"] == "keypointlabels":
            points.append({"x": x, "y": y, "positive": bool(prompt.get("is_positive", True))})
        elif prompt["type"] == "rectanglelabels":
            clicked["box"] = [x, y, x + value["width"] * across, y + value["height"] * down]
    return clicked | {"points": points}


def _prediction(regions: list[dict[str, Any]]) -> dict[str, Any]:
    score = sum(region["score"] for region in regions) / max(len(regions), 1)
    return {"result": regions, "score": score, "model_version": "SAM3"}


def _regions(answer: dict[str, Any], labels: list[str], kind: str) -> Iterator[dict[str, Any]]:
    size = {"original_width": answer["width"], "original_height": answer["height"], "image_rotation": 0}
    for label, found in zip(labels, answer["results"], strict=True):
        for detection in found["detections"]:
            for shape in _shapes(detection, kind, answer["width"], answer["height"]):
                value = shape | {kind.lower(): [label]}
                region = {"id": uuid.uuid4().hex[:10], "type": kind.lower(), "value": value, "readonly": False}
                yield size | region | {"score": detection["score"]}


def _shapes(detection: dict[str, Any], kind: str, width: int, height: int) -> Iterator[dict[str, Any]]:
    """Yield the parts of an instance: a brush has all of them, a polygon one."""
    if kind == "BrushLabels":
        yield {"format": "rle", "rle": brush.mask2rle(coco.decode(detection["mask"]) * np.uint8(255))}
        return
    percent = np.array([100 / width, 100 / height])
    if kind == "RectangleLabels":
        corners = np.array(detection["box"]).reshape(2, 2) * percent
        (x, y), (across, down) = corners[0].tolist(), (corners[1] - corners[0]).tolist()
        yield {"x": x, "y": y, "width": across, "height": down, "rotation": 0}
        return
    for polygon in detection["polygons"]:
        outline = cv2.approxPolyDP(np.array(polygon, np.float32).reshape(-1, 1, 2), _OUTLINE_PIXELS, True)[:, 0]
        if len(outline) > 2:
            yield {"points": (outline * percent).tolist(), "closed": True}


app = init_app(Sam3)
