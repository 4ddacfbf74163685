"""The bodies of `POST /api/v1/segment`. Coordinates are pixels of the upright image, from its top left corner."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from sam3_server.intake.object_schemas import IMAGE_ID, ClassId, Corners, ObjectPrompt, require_area
from sam3_server.worker.protocol import Exemplar as WorkerExemplar
from sam3_server.worker.protocol import Findings, Form, LabelForm, Query
from sam3_server.worker.protocol import Prompt as WorkerPrompt

LONGEST_PROMPT = 512
MOST_PROMPTS = 1000  # a server may allow fewer: SAM3_MAX_PROMPTS
MOST_EXEMPLARS = 32
MOST_IMAGES = 16  # of one request: together they have at most the bytes of the largest body

Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Concept = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_PROMPT)]


class Exemplar(BaseModel):
    """A box around an example of what to find; with `positive: false`, of what looks similar and is not wanted."""

    model_config = ConfigDict(extra="forbid")

    box: Corners = Field(description="x1, y1, x2, y2 in pixels; clipped to the image")
    positive: bool = True

    @model_validator(mode="after")
    def _has_area(self) -> Self:
        require_area(self.box)
        return self


class Prompt(BaseModel):
    """A concept to look for: a short noun phrase of at most 32 tokens, examples on the same image, or both."""

    model_config = ConfigDict(extra="forbid")

    text: Concept | None = Field(None, description="such as `red car`")
    exemplars: list[Exemplar] = Field([], max_length=MOST_EXEMPLARS, fail_fast=True)
    threshold: Score | None = Field(None, description="least score of an instance; by default the request's")
    class_id: ClassId | None = Field(None, description="class in YOLO labels; by default the prompt's place, from 0")

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if self.text is None and not any(exemplar.positive for exemplar in self.exemplars):
            raise ValueError("a prompt needs a text, or at least one positive exemplar")
        return self


def _spelled_out(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


AnyPrompt = Annotated[Prompt, BeforeValidator(_spelled_out, json_schema_input_type=Prompt | Concept)]


class SegmentOptions(BaseModel):
    """What to find on the image, and in which form to return it."""

    model_config = ConfigDict(extra="forbid")

    prompts: list[AnyPrompt] = Field(
        [],
        max_length=MOST_PROMPTS,
        fail_fast=True,
        description="concepts, of which every instance is found; a text stands for a prompt with that text",
    )
    objects: list[ObjectPrompt] = Field(
        [], max_length=MOST_PROMPTS, fail_fast=True, description="single objects, each of which gets one mask"
    )
    threshold: Score = Field(0.5, description="least score of an instance, where its prompt does not say")
    format: Form = Field("rle", description="masks as COCO RLE, outlines as COCO polygons, or boxes only (fastest)")
    yolo_labels: LabelForm | None = Field(
        None, description="add the lines of a YOLO label file, for detection (`box`) or for segmentation (`polygon`)"
    )
    max_instances: Annotated[int, Field(ge=1)] | None = Field(
        None, description="at most so many for each prompt, the best; by default as many as the server allows"
    )
    nms_iou: Score | None = Field(
        None, description="of instances that overlap by more than this, of any prompt, only the best is returned"
    )

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not self.prompts and not self.objects:
            raise ValueError("send at least one of prompts (concepts) or of objects (points, boxes)")
        return self

    def query(self, most_instances: int) -> Query:
        """Return what the worker is asked, with at most `most_instances` for each prompt."""
        return Query(
            prompts=[self._worker_prompt(prompt, place) for place, prompt in enumerate(self.prompts)],
            objects=[each.query(place) for place, each in enumerate(self.objects, len(self.prompts))],
            form=self.format,
            labels=self.yolo_labels,
            max_instances=self.max_instances or most_instances,
            nms_iou=self.nms_iou,
        )

    def _worker_prompt(self, prompt: Prompt, place: int) -> WorkerPrompt:
        return WorkerPrompt(
            text=prompt.text,
            exemplars=[WorkerExemplar(box=each.box, positive=each.positive) for each in prompt.exemplars],
            threshold=self.threshold if prompt.threshold is None else prompt.threshold,
            class_id=place if prompt.class_id is None else prompt.class_id,
        )


_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"


class SegmentRequest(SegmentOptions):
    """Options, and the image, or several images, as text."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"image": _PIXEL, "prompts": ["car", "person"]},
                {
                    "image": f"data:image/png;base64,{_PIXEL}",
                    "prompts": [
                        {"text": "car", "class_id": 2, "threshold": 0.4},
                        {"text": "truck", "class_id": 2},
                        {"exemplars": [{"box": [0, 0, 1, 1]}, {"box": [0, 0, 0.5, 1], "positive": False}]},
                    ],
                    "format": "polygon",
                    "yolo_labels": "polygon",
                    "nms_iou": 0.7,
                },
                {"image": _PIXEL, "objects": [{"points": [{"x": 0.5, "y": 0.5}]}]},
                {"images": [_PIXEL, _PIXEL], "prompts": ["car"]},
            ]
        }
    )

    image: str | None = Field(
        None, description="JPEG, PNG, WebP, BMP, TIFF, GIF or AVIF, in base64 or as a `data:` URI"
    )
    image_id: str | None = Field(
        None, pattern=IMAGE_ID, description="instead of the image: what the answer to an earlier request about it says"
    )
    images: list[str] | None = Field(
        None,
        min_length=1,
        max_length=MOST_IMAGES,
        fail_fast=True,
        description="several images instead of one: the answer has `images`, each as for a request with this image",
    )

    @model_validator(mode="after")
    def _has_one_image(self) -> Self:
        if self.images is not None:
            if self.image is not None or self.image_id is not None:
                raise ValueError("send either images, or one image or image_id")
            return self
        if (self.image is None) == (self.image_id is None):
            raise ValueError("send image, or the image_id that an earlier response had, and not both")
        return self


def _as_file(schema: dict[str, Any]) -> None:
    """Describe a file of a form, which OpenAPI knows as a string of binary data."""
    schema.pop("default", None)
    schema["format"] = "binary"


File = Annotated[bytes, Field(json_schema_extra=_as_file)]


class SegmentForm(BaseModel):
    """The image as a file, or `images` as several. The rest is either `request`, or the simple fields."""

    image: File = b""
    images: list[File] = Field([], max_length=MOST_IMAGES, description="several images instead of one")
    request: SegmentOptions | None = Field(None, description="everything else, as JSON")
    prompt: list[Concept] = Field([], max_length=MOST_PROMPTS, description="a concept to look for; repeat it for more")
    class_id: list[ClassId] = Field(
        [], max_length=MOST_PROMPTS, description="class of each prompt in YOLO labels, in the prompts' order"
    )
    threshold: Score = 0.5
    format: Form = "rle"
    yolo_labels: LabelForm | None = None
    max_instances: int | None = None
    nms_iou: Score | None = None


class SegmentResponse(Findings):
    """One result per prompt, in order, then one per object.

    Width and height are the upright image's (EXIF orientation applied).
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "width": 810,
                    "height": 1080,
                    "image_id": "5f" * 32,
                    "model_seconds": 0.21,
                    "results": [
                        {
                            "prompt": "car",
                            "class_id": 0,
                            "omitted": 0,
                            "detections": [
                                {
                                    "box": [3.5, 229.4, 559.1, 711.0],
                                    "score": 0.93,
                                    "mask": {"size": [1080, 810], "counts": "PPYo1"},
                                }
                            ],
                        }
                    ],
                    "yolo_labels": "0 0.347284 0.435370 0.685926 0.445926\n",
                }
            ]
        }
    )
