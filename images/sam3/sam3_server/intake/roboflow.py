"""Requests and answers of Roboflow inference's `/sam3/concept_segment`, so that its clients only change their URL.

What this server does not support (`model_id`, `image_id`, `api_key`, ...) is read and ignored. Images by URL are
refused: this server fetches nothing.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sam3_server.intake.object_schemas import Pixel
from sam3_server.intake.segment_schemas import (
    MOST_EXEMPLARS,
    MOST_PROMPTS,
    Concept,
    Exemplar,
    Prompt,
    Score,
    SegmentOptions,
)
from sam3_server.worker.protocol import Detection, Findings


class RoboflowImage(BaseModel):
    """The image, in base64."""

    type: Literal["base64"] = Field(description="`url` is not supported: this server fetches nothing")
    value: str


class BoxXywh(BaseModel):
    """A box by its top left corner and its size."""

    x: Pixel
    y: Pixel
    width: Pixel
    height: Pixel

    def corners(self) -> tuple[float, float, float, float]:
        """Return x1, y1, x2, y2."""
        return (self.x, self.y, self.x + self.width, self.y + self.height)


class BoxXyxy(BaseModel):
    """A box by two corners."""

    x0: Pixel
    y0: Pixel
    x1: Pixel
    y1: Pixel

    def corners(self) -> tuple[float, float, float, float]:
        """Return x1, y1, x2, y2."""
        return (self.x0, self.y0, self.x1, self.y1)


class RoboflowPrompt(BaseModel):
    """A concept by text, by boxes (label 1: like this, 0: not like this; all 1 by default), or by both."""

    type: Literal["text", "visual"] | None = None
    text: Concept | None = None
    boxes: Annotated[list[BoxXywh | BoxXyxy], Field(max_length=MOST_EXEMPLARS, fail_fast=True)] | None = None
    box_labels: Annotated[list[bool], Field(max_length=MOST_EXEMPLARS, fail_fast=True)] | None = None
    output_prob_thresh: Score | None = None

    @model_validator(mode="after")
    def _labels_match(self) -> Self:
        if self.type == "visual" and not self.boxes:
            raise ValueError("a visual prompt requires at least one box")
        if self.box_labels is not None and len(self.box_labels) != len(self.boxes or []):
            raise ValueError("box_labels must have one entry for each box")
        self.prompt()
        return self

    def prompt(self) -> Prompt:
        """Return it as this server's own type."""
        boxes = self.boxes or []
        labels = self.box_labels or [True] * len(boxes)
        exemplars = [Exemplar(box=box.corners(), positive=label) for box, label in zip(boxes, labels, strict=True)]
        return Prompt(text=self.text, exemplars=exemplars, threshold=self.output_prob_thresh)


class ConceptRequest(BaseModel):
    """The request of `/sam3/concept_segment`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "image": {"type": "base64", "value": "..."},
                    "prompts": [
                        {"type": "text", "text": "person"},
                        {
                            "type": "visual",
                            "boxes": [{"x": 200, "y": 250, "width": 180, "height": 220}],
                            "box_labels": [1],
                        },
                    ],
                    "output_prob_thresh": 0.5,
                    "format": "polygon",
                }
            ]
        }
    )

    image: RoboflowImage
    prompts: list[RoboflowPrompt] = Field(min_length=1, max_length=MOST_PROMPTS, fail_fast=True)
    format: Literal["polygon", "json", "rle"] | None = Field("polygon", description="`json` means `polygon`")
    output_prob_thresh: Score | None = 0.5
    nms_iou_threshold: Score | None = None

    def options(self) -> SegmentOptions:
        """Return it as this server's own type."""
        return SegmentOptions(
            prompts=[prompt.prompt() for prompt in self.prompts],
            threshold=0.5 if self.output_prob_thresh is None else self.output_prob_thresh,
            format="rle" if self.format == "rle" else "polygon",
            nms_iou=self.nms_iou_threshold,
        )


class Prediction(BaseModel):
    """One instance: a list of polygons of [x, y] points, or a COCO RLE."""

    masks: list[list[tuple[int, int]]] | dict[str, Any]
    confidence: float
    format: Literal["polygon", "rle"]


class Echo(BaseModel):
    """The prompt that a result belongs to."""

    prompt_index: int
    type: Literal["text", "visual"]
    text: str | None
    num_boxes: int


class ConceptResult(BaseModel):
    """The instances of one prompt."""

    prompt_index: int
    echo: Echo
    predictions: list[Prediction]


class ConceptResponse(BaseModel):
    """The answer of `/sam3/concept_segment`; `time` is seconds."""

    prompt_results: list[ConceptResult]
    time: float


class RoboflowTerms(BaseModel):
    """What the answer repeats of each prompt."""

    route: Literal["concept"] = "concept"
    echoes: list[Echo]


def terms(request: ConceptRequest) -> RoboflowTerms:
    """Return what the answer repeats of a request."""
    echoes = [
        Echo(
            prompt_index=index,
            type="visual" if prompt.boxes else "text",
            text=prompt.text,
            num_boxes=len(prompt.boxes or []),
        )
        for index, prompt in enumerate(request.prompts)
    ]
    return RoboflowTerms(echoes=echoes)


def respond(said: RoboflowTerms, findings: bytes) -> bytes:
    """Return the answer in Roboflow's format, as JSON. Slow where there are many polygons: not for the event loop."""
    found = Findings.model_validate_json(findings)
    results = [
        ConceptResult(
            prompt_index=echo.prompt_index,
            echo=echo,
            predictions=[prediction(detection) for detection in result.detections],
        )
        for echo, result in zip(said.echoes, found.results, strict=True)
    ]
    return ConceptResponse(prompt_results=results, time=found.model_seconds).model_dump_json().encode()


def prediction(detection: Detection) -> Prediction:
    """Return an instance as Roboflow's server does."""
    if detection.mask is not None:
        return Prediction(masks=detection.mask.model_dump(), confidence=detection.score, format="rle")
    polygons = [_points(flat) for flat in detection.polygons or []]
    return Prediction(masks=polygons, confidence=detection.score, format="polygon")


def _points(flat: list[float]) -> list[tuple[int, int]]:
    return [(round(x), round(y)) for x, y in zip(flat[::2], flat[1::2], strict=True)]
