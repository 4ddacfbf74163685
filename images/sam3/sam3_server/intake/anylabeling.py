"""Requests and answers of X-AnyLabeling's remote server, so that X-AnyLabeling labels with this server.

Its source: https://github.com/CVHub520/X-AnyLabeling-Server. What this server does not support (`iou_threshold`,
`filter_classes`, ...) is read and ignored.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sam3_server.intake.object_schemas import Pixel
from sam3_server.intake.segment_schemas import (
    LONGEST_PROMPT,
    MOST_EXEMPLARS,
    Exemplar,
    Prompt,
    Score,
    SegmentOptions,
)
from sam3_server.worker.protocol import Detection, Findings

MODEL = "segment_anything_3"
MOST_TEXTS = 100
UNNAMED = "AUTOLABEL_OBJECT"
"""The label by which X-AnyLabeling asks its user for one."""
_TOLERANCE = 0.001


class Mark(BaseModel):
    """A box that the user has drawn: what to find (label 1), or what not (0)."""

    type: Literal["rectangle"] = Field(description="points are not supported")
    label: bool
    data: tuple[Pixel, Pixel, Pixel, Pixel] = Field(description="two opposite corners: x1, y1, x2, y2")

    def exemplar(self) -> Exemplar:
        """Return it as this server's own type."""
        x1, y1, x2, y2 = self.data
        return Exemplar(box=(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), positive=self.label)


class Params(BaseModel):
    """What to find: texts, or boxes, which go before texts."""

    text_prompt: str | None = Field(
        None,
        max_length=MOST_TEXTS * LONGEST_PROMPT,
        description="texts, separated by commas, or by full stops where there is no comma",
    )
    marks: Annotated[list[Mark], Field(max_length=MOST_EXEMPLARS, fail_fast=True)] = []
    conf_threshold: Score = 0.25
    epsilon_factor: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        _TOLERANCE, description="how far an outline may be from the mask's, as a share of its length"
    )

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        self.prompts()
        return self

    def prompts(self) -> list[Prompt]:
        """Return the prompts as this server's own type; ValueError if there are none."""
        if self.marks:
            return [Prompt(exemplars=[mark.exemplar() for mark in self.marks])]
        texts = self.text_prompt or ""
        parts = (part.strip() for part in texts.split("," if "," in texts else "."))
        prompts = [Prompt(text=text) for text in dict.fromkeys(filter(None, parts))]
        if not prompts:
            raise ValueError("write what to find, such as `person, bicycle`, or draw a box around an example")
        return prompts


class PredictRequest(BaseModel):
    """The request of `/v1/predict`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": MODEL,
                    "image": "data:image/png;base64,...",
                    "params": {"text_prompt": "person, bicycle", "conf_threshold": 0.4},
                }
            ]
        }
    )

    model: Literal["segment_anything_3"]
    image: str = Field(description="in base64, or as a `data:` URI")
    params: Params

    def options(self) -> SegmentOptions:
        """Return it as this server's own type."""
        return SegmentOptions(prompts=self.params.prompts(), threshold=self.params.conf_threshold, format="polygon")


class Shape(BaseModel):
    """One instance: the outline of its largest part, which ends with its first point."""

    label: str
    shape_type: Literal["polygon", "rectangle"]
    points: list[list[float]]
    score: float
    attributes: dict[str, Any] = {}
    description: str = ""
    difficult: bool = False
    direction: int = 0
    flags: dict[str, bool] = {}
    group_id: int | None = None
    kie_linking: list[Any] = []


class Shapes(BaseModel):
    """What was found; `replace` None leaves it to the user whether older shapes stay."""

    shapes: list[Shape]
    description: str = ""
    replace: bool | None = None


class PredictResponse(BaseModel):
    """The answer of `/v1/predict`."""

    success: Literal[True] = True
    data: Shapes


class AnyLabelingTerms(BaseModel):
    """What the answer needs of the request: the label of each prompt, and how far an outline may be from the mask's."""

    route: Literal["anylabeling"] = "anylabeling"
    labels: list[str]
    tolerance: float


def terms(request: PredictRequest) -> AnyLabelingTerms:
    """Return what the answer needs of a request."""
    labels = [prompt.text or UNNAMED for prompt in request.params.prompts()]
    return AnyLabelingTerms(labels=labels, tolerance=request.params.epsilon_factor)


def respond(said: AnyLabelingTerms, findings: bytes) -> bytes:
    """Return the answer in X-AnyLabeling's format, as JSON. Slow with many outlines: not for the event loop."""
    found = Findings.model_validate_json(findings)
    pairs = zip(said.labels, found.results, strict=True)
    shapes = [_shape(label, said.tolerance, detection) for label, result in pairs for detection in result.detections]
    return PredictResponse(data=Shapes(shapes=shapes)).model_dump_json().encode()


def _shape(label: str, tolerance: float, detection: Detection) -> Shape:
    from sam3_server.intake.simplify import simplified  # NumPy: most intake processes never need it

    if not detection.polygons:
        x1, y1, x2, y2 = detection.box
        corners = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
        return Shape(label=label, shape_type="rectangle", points=corners, score=detection.score)
    outline = simplified(detection.polygons[0], tolerance)
    return Shape(label=label, shape_type="polygon", points=outline, score=detection.score)


WIDGETS: tuple[dict[str, Any], ...] = (
    {"name": "edit_text", "value": None, "placeholder": "person, bicycle"},
    {"name": "button_send", "value": None},
    {"name": "add_pos_rect", "value": None},
    {"name": "add_neg_rect", "value": None},
    {"name": "button_run_rect", "value": None},
    {"name": "button_clear", "value": None},
    {"name": "button_finish_object", "value": None},
    {"name": "input_conf", "value": None},
    {"name": "edit_conf", "value": 0.25},
    {"name": "mask_fineness_slider", "value": 10},
    {"name": "mask_fineness_value_label", "value": None},
    {"name": "toggle_preserve_existing_annotations", "value": True},
)
"""The controls that X-AnyLabeling shows for this model."""
DESCRIPTION: dict[str, Any] = {
    "display_name": "Segment Anything 3",
    "widgets": list(WIDGETS),
    "params": {},
    "capabilities": {},
    "batch_processing_mode": "text_prompt",
}
"""The model as `/v1/models` describes it."""
