"""Exemplar boxes against the image they are on. Pure."""

from sam3_server.errors import PromptError
from sam3_server.worker.protocol import Exemplar, Query


def on_image(query: Query, width: int, height: int) -> Query:
    """Return the query with its boxes clipped to an upright image of this size in pixels.

    Raises:
        PromptError: a box is outside the image, or is given as fractions of its size rather than in pixels.

    """
    prompts = [
        prompt.model_copy(update={"exemplars": [_clipped(each, width, height) for each in prompt.exemplars]})
        for prompt in query.prompts
    ]
    return query.model_copy(update={"prompts": prompts})


def _clipped(exemplar: Exemplar, width: int, height: int) -> Exemplar:
    x1, y1, x2, y2 = exemplar.box
    if max(exemplar.box) <= 1 < max(width, height):
        raise PromptError(
            f"the box {x1:g}, {y1:g}, {x2:g}, {y2:g} is no larger than one pixel; boxes are given in pixels, so "
            f"multiply fractions of the image's size by its width and height, {width} and {height} once turned upright"
        )
    box = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    if box[0] >= box[2] or box[1] >= box[3]:
        raise PromptError(
            f"the box {x1:g}, {y1:g}, {x2:g}, {y2:g} is outside the image, which has {width} x {height} pixels "
            "once turned upright"
        )
    return Exemplar(box=box, positive=exemplar.positive)
