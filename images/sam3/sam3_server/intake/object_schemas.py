"""Single objects in a request, by clicks: points on them and beside them, a box around them, an earlier mask."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sam3_server.intake.run_lengths import require_valid
from sam3_server.worker.protocol import Mask as WorkerMask
from sam3_server.worker.protocol import ObjectPrompt as WorkerObject
from sam3_server.worker.protocol import Point as WorkerPoint

MOST_POINTS = 64
IMAGE_ID = "^[0-9a-f]{64}$"
LONGEST_MASK = 1 << 17
LONGEST_SIDE = 1 << 15
NO_PROMPT = "an object needs at least one positive point, or a box around it"
NO_CLICK = "a mask needs at least one point, positive or not, that says what to improve, or a box around the object"

Side = Annotated[int, Field(ge=1, le=LONGEST_SIDE)]

Pixel = Annotated[float, Field(allow_inf_nan=False)]
ClassId = Annotated[int, Field(ge=0, lt=2**31)]
Corners = tuple[Pixel, Pixel, Pixel, Pixel]


def require_area(box: Corners) -> None:
    """Pass the corners of a box; raises ValueError if it has no area."""
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError("a box is x1, y1, x2, y2 with x1 < x2 and y1 < y2")


class Point(BaseModel):
    """A point on the object, or with `positive: false` on something that does not belong to it."""

    model_config = ConfigDict(extra="forbid")

    x: Pixel
    y: Pixel
    positive: bool = True


class EarlierMask(BaseModel):
    """A mask of the object as responses have it: COCO RLE, of the image's size."""

    model_config = ConfigDict(extra="forbid")

    size: tuple[Side, Side] = Field(description="height and width")
    counts: str = Field(max_length=LONGEST_MASK)

    @model_validator(mode="after")
    def _is_a_mask(self) -> Self:
        require_valid(self.counts, self.size[0] * self.size[1])
        return self


class ObjectPrompt(BaseModel):
    """One object on the image, by points, a box around it, or both. Its result is one mask.

    It is no example: to find what looks like it, send a prompt with an exemplar.
    """

    model_config = ConfigDict(extra="forbid")

    points: list[Point] = Field([], max_length=MOST_POINTS, fail_fast=True)
    box: Corners | None = Field(None, description="x1, y1, x2, y2 in pixels, around the object; clipped to the image")
    mask: EarlierMask | None = Field(None, description="a mask of the object that the points and the box improve")
    multimask: bool | None = Field(
        None,
        description="compute three masks, such as of a part and of the whole, and return the best; by default for a "
        "single point without a mask",
    )
    class_id: ClassId | None = Field(
        None, description="class in YOLO labels; by default the number of prompts plus the object's place, from 0"
    )

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if self.box is not None:
            require_area(self.box)
        elif self.mask is not None and not self.points:
            raise ValueError(NO_CLICK)
        elif self.mask is None and not any(point.positive for point in self.points):
            raise ValueError(NO_PROMPT)
        return self

    def query(self, place: int) -> WorkerObject:
        """Return what the worker is asked; `place` is the class without `class_id`."""
        return WorkerObject(
            points=[WorkerPoint(x=each.x, y=each.y, positive=each.positive) for each in self.points],
            box=self.box,
            mask=None if self.mask is None else WorkerMask(size=self.mask.size, counts=self.mask.counts),
            multimask=self._is_ambiguous if self.multimask is None else self.multimask,
            class_id=place if self.class_id is None else self.class_id,
        )

    @property
    def _is_ambiguous(self) -> bool:
        return self.box is None and self.mask is None and len(self.points) == 1
