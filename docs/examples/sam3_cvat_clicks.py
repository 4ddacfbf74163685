"""SAM3 as an interactor of CVAT: it outlines the object that a user clicks on (docs/labelling-tools.md).

    cvat-cli function create-native SAM3 --function-file sam3_cvat_clicks.py -p url=str:http://127.0.0.1:8000
    cvat-cli function run-agent FUNCTION-ID --function-file sam3_cvat_clicks.py -p url=str:http://127.0.0.1:8000

It needs cvat-cli, Pillow and pycocotools, and a CVAT with native functions: Enterprise or cloud.
"""

import base64
import io
from http import HTTPStatus
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import PIL.Image
import urllib3
from cvat_sdk.masks import encode_mask
from pycocotools import mask as coco


def create(url: str, token: str = "") -> "Clicks":
    """Return the function; `token` is the server's for inference."""
    return Clicks(url, token)


class Clicks:
    """Outlines one object; while a training job has the GPU, a click is an error with the reason."""

    spec = cvataa.InteractionFunctionSpec(min_pos_points=1, min_neg_points=0, min_bounding_boxes=0)

    def __init__(self, url: str, token: str) -> None:
        self._url = f"{url.rstrip('/')}/api/v1/segment"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def preprocess_image(self, context: Any, image: PIL.Image.Image) -> str:
        """Return the image as requests have it; SAM3 itself caches its features."""
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=95)
        return base64.b64encode(buffer.getvalue()).decode()

    def detect(
        self, context: Any, pp_image: str, prompts: cvataa.InteractionPrompts
    ) -> list[cvataa.InteractionResultShape]:
        """Return the mask of the object."""
        points = [{"x": x, "y": y} for x, y in prompts.pos_points]
        points += [{"x": x, "y": y, "positive": False} for x, y in prompts.neg_points]
        clicked: dict[str, Any] = {"points": points}
        if prompts.bounding_box is not None:
            clicked["box"] = [*prompts.bounding_box[0], *prompts.bounding_box[1]]
        body = {"image": pp_image, "objects": [clicked]}
        answer = urllib3.request("POST", self._url, json=body, headers=self._headers, timeout=60, retries=False)
        if answer.status != HTTPStatus.OK:
            # Of an exception of another type, CVAT shows its users only "Unknown error".
            raise cvataa.BadFunctionError(f"SAM3 answers {answer.status}: {answer.json()['detail']}")
        (detection,) = answer.json()["results"][0]["detections"]
        mask = coco.decode(detection["mask"]).astype(bool)
        return [cvataa.InteractionResultShape(type="mask", points=encode_mask(mask))] if mask.any() else []
