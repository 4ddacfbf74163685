"""Boxes, points and masks against the size of the image they are on. Pure."""

from sam3_server.errors import PromptError
from sam3_server.worker.bounds import bounded
from sam3_server.worker.protocol import Box, Exemplar, ObjectPrompt, Point, Prompt, Query


def fitted(query: Query, width: int, height: int, mask_pixels: int) -> Query:
    """Return the query for an upright image of this size in pixels, of which all masks may have `mask_pixels`.

    Raises:
        PromptError: a box or a point is not on the image, or a mask has another size.
        TooMuchWorkError: there are more prompts and objects than masks.

    """
    return bounded(on_image(query, width, height), width, height, mask_pixels)


def on_image(query: Query, width: int, height: int) -> Query:
    """Return the query with its boxes clipped to an upright image of this size in pixels.

    Raises:
        PromptError: a box or a point is outside the image, a box is given as fractions of its size rather than in
            pixels, or a mask has another size.

    """
    prompts = [_on_image(prompt, width, height) for prompt in query.prompts]
    objects = [_object_on_image(each, width, height) for each in query.objects]
    return query.model_copy(update={"prompts": prompts, "objects": objects})


def _on_image(prompt: Prompt, width: int, height: int) -> Prompt:
    exemplars = [Exemplar(box=_clipped(each.box, width, height), positive=each.positive) for each in prompt.exemplars]
    return prompt.model_copy(update={"exemplars": exemplars})


def _object_on_image(prompt: ObjectPrompt, width: int, height: int) -> ObjectPrompt:
    for point in prompt.points:
        _require_inside(point, width, height)
    if prompt.mask is not None and prompt.mask.size != (height, width):
        rows, columns = prompt.mask.size
        raise PromptError(
            f"the mask has {columns} x {rows} pixels, the image {width} x {height} once turned upright; send a mask of "
            "the image's size, as responses have it"
        )
    box = None if prompt.box is None else _clipped(prompt.box, width, height)
    return prompt.model_copy(update={"box": box})


def _require_inside(point: Point, width: int, height: int) -> None:
    if not (0 <= point.x <= width and 0 <= point.y <= height):
        raise PromptError(
            f"the point {point.x:g}, {point.y:g} is outside the image, which has {width} x {height} pixels once turned "
            "upright"
        )


def _clipped(box: Box, width: int, height: int) -> Box:
    x1, y1, x2, y2 = box
    if max(box) <= 1 < max(width, height):
        raise PromptError(
            f"the box {x1:g}, {y1:g}, {x2:g}, {y2:g} is no larger than one pixel; boxes are given in pixels, so "
            f"multiply fractions of the image's size by its width and height, {width} and {height} once turned upright"
        )
    clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        raise PromptError(
            f"the box {x1:g}, {y1:g}, {x2:g}, {y2:g} is outside the image, which has {width} x {height} pixels "
            "once turned upright"
        )
    return clipped
