"""Requests and answers of Roboflow inference's `/sam3/visual_segment` and `/sam3/embed_image`.

So its clients only change their URL. What this server does not support (`model_id`, `save_logits_to_cache`, ...) is
read and ignored.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sam3_server.intake.object_schemas import IMAGE_ID, MOST_POINTS, NO_PROMPT, ObjectPrompt, Pixel, Point
from sam3_server.intake.roboflow import Prediction, RoboflowImage, prediction
from sam3_server.intake.segment_schemas import MOST_PROMPTS, SegmentOptions
from sam3_server.worker.protocol import Findings

LONGEST_ID = 256


class VisualPoint(BaseModel):
    """A point on the object, or with `positive` false beside it."""

    x: Pixel
    y: Pixel
    positive: bool = True


class CentredBox(BaseModel):
    """A box around the object by its centre and its size."""

    x: Pixel
    y: Pixel
    width: Pixel = Field(gt=0)
    height: Pixel = Field(gt=0)

    def corners(self) -> tuple[float, float, float, float]:
        """Return x1, y1, x2, y2."""
        across, down = self.width / 2, self.height / 2
        return (self.x - across, self.y - down, self.x + across, self.y + down)


class VisualPrompt(BaseModel):
    """One object, by points, a box, or both."""

    points: Annotated[list[VisualPoint], Field(max_length=MOST_POINTS, fail_fast=True)] | None = None
    box: CentredBox | None = None

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if self.box is None and not any(point.positive for point in self.points or []):
            raise ValueError(NO_PROMPT)
        return self

    def object(self, multimask: bool) -> ObjectPrompt:
        """Return it as this server's own type."""
        points = [Point(x=each.x, y=each.y, positive=each.positive) for each in self.points or []]
        return ObjectPrompt(
            points=points, box=None if self.box is None else self.box.corners(), multimask=multimask, class_id=0
        )


def _as_list(value: Any) -> Any:
    """Return the list of prompts, which clients may wrap into an object; a single prompt stands for a list of one."""
    if isinstance(value, dict):
        return value.get("prompts", [value])
    return value


VisualPrompts = Annotated[list[VisualPrompt], Field(min_length=1, max_length=MOST_PROMPTS, fail_fast=True)]
AnyPrompts = Annotated[VisualPrompts, BeforeValidator(_as_list, json_schema_input_type=VisualPrompts | dict[str, Any])]


class EmbedRequest(BaseModel):
    """The request of `/sam3/embed_image`."""

    image: RoboflowImage
    image_id: str | None = Field(None, max_length=LONGEST_ID, description="repeated in the answer")


class VisualRequest(BaseModel):
    """The request of `/sam3/visual_segment`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "image": {"type": "base64", "value": "..."},
                    "prompts": {
                        "prompts": [
                            {"points": [{"x": 120, "y": 80, "positive": True}, {"x": 20, "y": 10, "positive": False}]},
                            {"box": {"x": 200, "y": 250, "width": 180, "height": 220}},
                        ]
                    },
                    "format": "json",
                }
            ]
        }
    )

    image: RoboflowImage | None = None
    image_id: str | None = Field(
        None,
        max_length=LONGEST_ID,
        description="without `image`: the `image_id` that this server answered; with `image`, it is ignored",
    )
    prompts: AnyPrompts
    format: Literal["json", "polygon", "rle"] | None = Field("json", description="`json` means `polygon`")
    multimask_output: bool = Field(True, description="choose the best of three masks")

    @model_validator(mode="after")
    def _has_an_image(self) -> Self:
        if self.image is None and not re.fullmatch(IMAGE_ID, self.image_id or ""):
            raise ValueError("send image, or as image_id what this server answered to an earlier request without one")
        return self

    def encoded(self) -> str | None:
        """Return the image's text; None if the request only has its id."""
        return None if self.image is None else self.image.value

    def options(self) -> SegmentOptions:
        """Return it as this server's own type."""
        objects = [prompt.object(self.multimask_output) for prompt in self.prompts]
        return SegmentOptions(objects=objects, format="rle" if self.format == "rle" else "polygon")


class VisualResponse(BaseModel):
    """The answer of `/sam3/visual_segment`: one prediction for each prompt; `time` is seconds."""

    predictions: list[Prediction]
    time: float
    image_id: str | None = Field(None, description="names the image in further requests")


class EmbedResponse(BaseModel):
    """The answer of `/sam3/embed_image`; `time` is seconds."""

    image_id: str
    time: float


class VisualTerms(BaseModel):
    """The answer needs nothing of the request but its kind."""

    route: Literal["visual"] = "visual"


class EmbedTerms(BaseModel):
    """What the answer repeats of the request."""

    route: Literal["embed"] = "embed"
    image_id: str | None


def respond(findings: bytes) -> bytes:
    """Return the answer of `/sam3/visual_segment`, as JSON. Slow with many polygons: not for the event loop."""
    found = Findings.model_validate_json(findings)
    predictions = [prediction(detection) for result in found.results for detection in result.detections]
    answer = VisualResponse(predictions=predictions, time=found.model_seconds, image_id=found.image_id)
    return answer.model_dump_json().encode()


def respond_embedded(said: EmbedTerms, findings: bytes) -> bytes:
    """Return the answer of `/sam3/embed_image`, as JSON."""
    found = Findings.model_validate_json(findings)
    image_id = said.image_id or found.image_id or ""
    return EmbedResponse(image_id=image_id, time=found.model_seconds).model_dump_json().encode()
