"""The messages between server and worker over a socket pair.

A frame of a worker or of the encoder is two big-endian 32-bit lengths, a JSON message, and raw bytes: an image's
pixels for the worker, what the model found on it from there to the encoder, and the answer on the way back. Each
request gets one reply; a `Cancel` gets none, it only shortens the request before it.
"""

import struct
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter

HEADER = struct.Struct("!II")
Reason = Literal["prompt", "image", "unsupported", "memory", "error", "work", "cancelled"]
Box = tuple[float, float, float, float]
Form = Literal["rle", "polygon", "box"]
LabelForm = Literal["box", "polygon"]
VISUAL = "visual"
OBJECT = "object"


class WorkerError(Exception):
    """A request that the worker cannot serve, for a reason it knows. The message says what to change."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class Setup(BaseModel):
    """What a worker is started with. `memory_mib` 0 computes on the CPU."""

    model: Path
    dtype: str
    memory_mib: int
    cached_images: int
    log_level: str


class Prepare(BaseModel):
    """Import and read the weights into host memory."""

    kind: Literal["prepare"] = "prepare"


class Attach(BaseModel):
    """Reserve the GPU memory, move the weights there, and check that the model answers."""

    kind: Literal["attach"] = "attach"


class Exemplar(BaseModel):
    """A box (x1, y1, x2, y2) in pixels around an example of what to find, or of what not to find."""

    box: Box
    positive: bool = True


class Prompt(BaseModel):
    """One concept to look for, by text, by examples on the same image, or by both.

    Instances that score above `threshold` are found; `class_id` is what their training labels are to say.
    """

    text: str | None = None
    exemplars: list[Exemplar] = []
    threshold: float = 0.5
    class_id: int = 0

    @property
    def name(self) -> str:
        """The text for the model: without one, what SAM3 was trained to read as "like these"."""
        return VISUAL if self.text is None else self.text


class Mask(BaseModel):
    """A mask in COCO's compressed run-length encoding, as pycocotools writes it."""

    size: tuple[int, int]
    counts: str


class Point(BaseModel):
    """A point in pixels on the object, or with `positive: false` on what does not belong to it."""

    x: float
    y: float
    positive: bool = True


class ObjectPrompt(BaseModel):
    """One object to segment: by points, by a box around it (x1, y1, x2, y2), both in pixels.

    `mask` is an earlier mask of it, of the image's size, which the points and the box improve. `multimask` lets the
    model choose between three masks, for a prompt that may mean an object or a part of it.
    """

    points: list[Point] = []
    box: Box | None = None
    mask: Mask | None = None
    multimask: bool
    class_id: int = 0

    @property
    def name(self) -> str:
        """What its result is called."""
        return OBJECT


class Query(BaseModel):
    """What to find on one image, and in which form to return it: instances of concepts, and single objects.

    Each prompt has at most `max_instances`, the best, and all prompts together at most `max_masks`. Of instances that
    overlap by more than `nms_iou`, of any prompt, the best is returned. A query without prompts and objects only has
    the image's features computed. `image_id` names an image that the worker has features of; `mask_pixels` is then
    the most pixels that all masks together may have, since only the worker knows the image's size.
    """

    prompts: list[Prompt]
    objects: list[ObjectPrompt] = []
    image_id: str | None = None
    mask_pixels: int | None = None
    form: Form = "rle"
    labels: LabelForm | None = None
    max_instances: int
    max_masks: int | None = None
    nms_iou: float | None = None

    @property
    def parts(self) -> list[Prompt | ObjectPrompt]:
        """What has a result: the prompts, then the objects."""
        return [*self.prompts, *self.objects]

    @property
    def needs_tracker(self) -> bool:
        """Whether the tracker is needed: features alone are computed for objects that are asked for later."""
        return bool(self.objects) or not self.prompts

    @property
    def needs_masks(self) -> bool:
        """Whether masks have to be computed: boxes alone cost far less."""
        return self.form != "box" or self.labels == "polygon"


class Segment(BaseModel):
    """Segment the image whose RGB pixels, row by row, follow as raw bytes, within so many seconds.

    No pixels follow where the query's `image_id` names the image; width and height are then 0.
    """

    kind: Literal["segment"] = "segment"
    width: int
    height: int
    query: Query
    seconds: float


class Encode(BaseModel):
    """Write the answer to a query from what the model found, which follows as raw bytes, within so many seconds."""

    kind: Literal["encode"] = "encode"
    query: Query
    seconds: float


class Cancel(BaseModel):
    """The client of the current request has disconnected; without a current request it means nothing."""

    kind: Literal["cancel"] = "cancel"


class Prepared(BaseModel):
    """The weights are in host memory; `weights_mib` of them are resident there."""

    kind: Literal["prepared"] = "prepared"
    seconds: float
    weights_mib: int = 0


class Attached(BaseModel):
    """The model is on the device, its trunk in `dtype`, and has passed a probe inference.

    `seconds` has three parts: to open the device and its context, to copy the weights there, and to answer the probe.
    """

    kind: Literal["attached"] = "attached"
    seconds: float
    context_seconds: float = 0.0
    copy_seconds: float = 0.0
    probe_seconds: float = 0.0
    device: str
    dtype: str
    allocated_mib: int


class Detection(BaseModel):
    """One instance: box corners in pixels (x1, y1, x2, y2), score from 0 to 1, and its shape in the requested form.

    `mask` has the image's size. `polygons` are the outlines of its parts, the largest first, each x1, y1, x2, y2, ...
    in pixels, as COCO writes them: points are corners of pixels, and a hole is joined to its part's outline by a line
    that runs in both directions, so that pycocotools draws the mask from them. A mask without a pixel has no polygon.
    """

    box: Box
    score: float
    mask: Mask | None = None
    polygons: list[list[float]] | None = None


class PromptResult(BaseModel):
    """The instances found for one prompt; `omitted` counts those that are not returned.

    `unlabelled`, where labels were requested, counts the returned instances without a label line: their mask has no
    pixel, or their box is outside the image.
    """

    prompt: str
    class_id: int
    detections: list[Detection]
    omitted: int = 0
    unlabelled: int | None = None


class Findings(BaseModel):
    """What was found on an image of this upright size in pixels: one result per prompt, in the prompts' order.

    One result per object follows.
    """

    width: int
    height: int
    image_id: str | None = Field(
        None, description="names the image in further requests, as long as the server has its features"
    )
    model_seconds: float = Field(description="seconds that the worker spent")
    results: list[PromptResult]
    yolo_labels: str | None = Field(None, description="the content of the image's label file, if it was requested")


class Segmented(BaseModel):
    """The image was segmented.

    `findings` is the result of `instances.pack`, and later the answer's JSON. It travels as raw bytes, which the server
    forwards unread: parsing megabytes would delay every other request. `peak_mib` is the most GPU memory that
    the worker ever held, `host_peak_mib` the most host memory; `cached` is set if the image's features were cached by
    an earlier request, `dtype` is the trunk's present one. `prompts` counts the prompts that were computed, `seconds`
    is the time that the request took in the worker.
    """

    kind: Literal["segmented"] = "segmented"
    findings: bytes = Field(b"", exclude=True)
    allocated_mib: int
    dtype: str = ""
    peak_mib: int = 0
    host_peak_mib: int = 0
    cached: bool = False
    prompts: int = 0
    seconds: float = 0.0


class Failed(BaseModel):
    """The request could not be served; the worker keeps running."""

    kind: Literal["failed"] = "failed"
    reason: Reason
    message: str
    allocated_mib: int = 0
    prompts: int = 0


class Encoded(BaseModel):
    """The answer's JSON follows as raw bytes."""

    kind: Literal["encoded"] = "encoded"


Request = Prepare | Attach | Segment | Encode | Cancel
Reply = Prepared | Attached | Segmented | Encoded | Failed

REQUESTS: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="kind")])
REPLIES: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="kind")])


def head(message: BaseModel, payload_size: int = 0) -> bytes:
    """Return the frame of `message` up to the raw bytes that are to follow."""
    body = message.model_dump_json().encode()
    return HEADER.pack(len(body), payload_size) + body
