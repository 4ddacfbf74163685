"""The messages between server and intake process: one JSON message and at most one descriptor in each direction.

The descriptor of a request is a file in memory with the body, or the findings. That of a `Done` has `size` bytes of
JSON (a `ParsedQuery`, or the response to send), and then the pixels, if an image was read. That of an `ImageBatch` is
sent with each `ReadImage`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter

from sam3_server.intake.anylabeling import AnyLabelingTerms
from sam3_server.intake.roboflow import RoboflowTerms
from sam3_server.intake.roboflow_visual import EmbedTerms, VisualTerms
from sam3_server.worker.protocol import Query

MESSAGE_SIZE = 1 << 17  # no message is longer
Route = Literal["segment", "concept", "visual", "embed", "anylabeling"]
Terms = Annotated[RoboflowTerms | VisualTerms | EmbedTerms | AnyLabelingTerms, Field(discriminator="route")]
"""What the answer of a route that is another server's needs of the request."""
TERMS: TypeAdapter[Terms] = TypeAdapter(Terms)


class RequestLimits(BaseModel):
    """The most that a request may have: MiB of the encoded image, its pixels, prompts, instances of each prompt.

    `mask_pixels` are those of all masks together.
    """

    image_mib: int
    pixels: int
    prompts: int
    instances: int
    mask_pixels: int


class Setup(BaseModel):
    """What an intake process is started with: its limits in seconds of CPU time for a request, and in MiB."""

    limits: RequestLimits
    cpu_seconds: int
    memory_mib: int
    log_level: str


class Read(BaseModel):
    """Read the request whose body is in the file."""

    kind: Literal["read"] = "read"
    route: Route
    content_type: str


class ReadImage(BaseModel):
    """Read one image of several: the file is that of an `ImageBatch` with this `size`. Places count from 0."""

    kind: Literal["read_image"] = "read_image"
    size: int
    place: int


class Respond(BaseModel):
    """Write the answer of another server's route: the file has `size` bytes of `Terms`, and then the findings."""

    kind: Literal["respond"] = "respond"
    size: int


class ParsedQuery(BaseModel):
    """A valid request; its pixels follow. Width and height are 0 where it names its image by an id."""

    query: Query
    width: int
    height: int
    terms: Terms | None = None


class BatchHead(BaseModel):
    """A valid request with several images, which follow, in order. Each is in base64 if they are texts."""

    query: Query
    sizes: list[int]
    texts: bool


class ImageBatch(BaseModel):
    """The request has several images: the file has `size` bytes of a `BatchHead`, and then the images."""

    kind: Literal["batch"] = "batch"
    size: int
    count: int


class Done(BaseModel):
    """The answer is in the file."""

    kind: Literal["done"] = "done"
    size: int


class Refusal(BaseModel):
    """The request cannot be served; `field_errors` are pairs of a place and a message."""

    kind: Literal["refused"] = "refused"
    status: int
    message: str
    field_errors: list[tuple[str, str]] = []


Request = Read | ReadImage | Respond
Reply = Done | ImageBatch | Refusal
REQUESTS: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="kind")])
REPLIES: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="kind")])
