"""How much work one request may be: masks times pixels, as far as it is known before the inference. Pure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sam3_server.errors import TooMuchWorkError
from sam3_server.worker.protocol import Query

if TYPE_CHECKING:
    from sam3_server.worker.instances import Found  # numpy and pycocotools, which intake processes do not import

MEGAPIXEL = 1_000_000


def bounded(query: Query, width: int, height: int, most_pixels: int) -> Query:
    """Return the query with the number of masks that it may have on an image of this size in pixels.

    `most_pixels` is for all masks of a request together. One mask is always allowed. Each prompt and each object is
    given one.

    Raises:
        TooMuchWorkError: there are more prompts and objects than masks.

    """
    if not query.needs_masks:
        return query
    pixels, prompts = width * height, len(query.parts)
    masks = max(1, most_pixels // pixels)
    if prompts > masks:
        size, asked, allowed = (each / MEGAPIXEL for each in (pixels, prompts * pixels, most_pixels))
        raise TooMuchWorkError(
            f"{prompts} prompts on {size:.1f} megapixels are {asked:,.0f} megapixels of masks with one instance each, "
            f"{allowed:,.0f} are allowed for one request; send at most {masks} prompts at a time, scale the image down "
            f"to {allowed / prompts:.1f} megapixels, or ask for boxes alone (format: box)"
        )
    return query.model_copy(update={"max_masks": masks})


def share(query: Query, found: Sequence["Found"]) -> int:
    """Return how many instances of the next prompt to return: later prompts share what earlier ones left.

    Each object is left one mask.
    """
    if query.max_masks is None:
        return query.max_instances
    left = query.max_masks - len(query.objects) - sum(len(each.scores) for each in found)
    return min(query.max_instances, left // (len(query.prompts) - len(found)))
