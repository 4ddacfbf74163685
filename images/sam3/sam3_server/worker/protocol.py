"""What server and worker say to each other over a socket pair.

A frame is two big-endian 32-bit lengths, a JSON message, and raw bytes (an image's pixels, or none). Each request
gets one reply.
"""

import struct
from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter

HEADER = struct.Struct("!II")
Reason = Literal["prompt", "memory", "error"]


class WorkerError(Exception):
    """A request that the worker cannot serve, for a reason it knows. The message says what to change."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class Prepare(BaseModel):
    """Import and read the weights into host memory."""

    kind: Literal["prepare"] = "prepare"


class Attach(BaseModel):
    """Reserve the GPU memory and move the weights there."""

    kind: Literal["attach"] = "attach"


class Prompt(BaseModel):
    """One concept to look for."""

    text: str


class Segment(BaseModel):
    """Segment the image whose RGB pixels, row by row, follow as raw bytes."""

    kind: Literal["segment"] = "segment"
    width: int
    height: int
    prompts: list[Prompt]
    threshold: float


class Prepared(BaseModel):
    """The weights are in host memory."""

    kind: Literal["prepared"] = "prepared"
    seconds: float


class Attached(BaseModel):
    """The model is on the device, in `dtype`."""

    kind: Literal["attached"] = "attached"
    seconds: float
    device: str
    dtype: str
    allocated_mib: int


class Mask(BaseModel):
    """A mask in COCO's compressed run-length encoding, as pycocotools writes it."""

    size: tuple[int, int]
    counts: str


class Detection(BaseModel):
    """One instance: box corners in pixels (x1, y1, x2, y2), score from 0 to 1, mask of the image's size."""

    box: tuple[float, float, float, float]
    score: float
    mask: Mask


class PromptResult(BaseModel):
    """The instances found for one prompt."""

    prompt: str
    detections: list[Detection]


class Segmented(BaseModel):
    """One result per prompt, in the prompts' order."""

    kind: Literal["segmented"] = "segmented"
    seconds: float
    allocated_mib: int
    results: list[PromptResult]


class Failed(BaseModel):
    """The request could not be served; the worker lives on."""

    kind: Literal["failed"] = "failed"
    reason: Reason
    message: str
    allocated_mib: int = 0


Request = Prepare | Attach | Segment
Reply = Prepared | Attached | Segmented | Failed

REQUESTS: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="kind")])
REPLIES: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="kind")])


def head(message: BaseModel, payload_size: int = 0) -> bytes:
    """Return the frame of `message` up to the raw bytes that are to follow."""
    body = message.model_dump_json().encode()
    return HEADER.pack(len(body), payload_size) + body
