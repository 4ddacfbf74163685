"""SAM3 as an auto-annotation function of CVAT (docs/labelling-tools.md).

    cvat-cli task auto-annotate TASK --function-file sam3_cvat.py \
      -p url=str:http://127.0.0.1:8000 -p labels=str:person,bicycle --conf-threshold 0.5

It needs cvat-cli and Pillow. The labels must be labels of the task, and are what SAM3 looks for.
"""

import base64
import io
import time
from http import HTTPStatus
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import PIL.Image
import urllib3

_LATER = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


def create(url: str, labels: str, token: str = "") -> "Sam3":
    """Return the function; `labels` are separated by commas, `token` is the server's for inference."""
    return Sam3(url, [label.strip() for label in labels.split(",")], token)


class Sam3:
    """Finds each label on an image; while a training job has the GPU, it waits."""

    def __init__(self, url: str, labels: list[str], token: str) -> None:
        self._url = f"{url.rstrip('/')}/v1/predict"
        self._headers = {"Token": token} if token else {}
        self._ids = {label: number for number, label in enumerate(labels)}
        specs = [cvataa.label_spec(label, number, type="polygon") for label, number in self._ids.items()]
        self.spec = cvataa.DetectionFunctionSpec(labels=specs)

    def detect(self, context: Any, image: PIL.Image.Image) -> list[Any]:
        """Return a polygon for each instance."""
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=95)
        params: dict[str, Any] = {"text_prompt": ",".join(self._ids)}
        if context.conf_threshold is not None:
            params["conf_threshold"] = context.conf_threshold
        encoded = base64.b64encode(buffer.getvalue()).decode()
        found = self._ask({"model": "segment_anything_3", "image": encoded, "params": params})
        return [
            cvataa.polygon(self._ids[shape["label"]], [value for point in shape["points"][:-1] for value in point])
            for shape in found["data"]["shapes"]
            if shape["shape_type"] == "polygon"
        ]

    def _ask(self, body: dict[str, Any]) -> Any:
        while True:
            answer = urllib3.request("POST", self._url, json=body, headers=self._headers, timeout=600, retries=False)
            if answer.status == HTTPStatus.OK:
                return answer.json()
            if answer.status not in _LATER:
                raise RuntimeError(f"SAM3 answers {answer.status}: {answer.json()['detail']}")
            time.sleep(int(answer.headers["Retry-After"]))
