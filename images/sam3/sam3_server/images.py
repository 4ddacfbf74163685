"""From an upload's bytes to upright RGB pixels, within limits. Decoding is slow: call it in a thread."""

import io
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

from sam3_server.errors import ImageError, ImageTooLargeError

Image.MAX_IMAGE_PIXELS = None  # the limit that counts is the one that callers give
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
STRIP_BYTES = 1 << 18


@dataclass(frozen=True)
class RgbImage:
    """Pixels of 3 bytes, row by row from the top left, in strips of some rows.

    One piece of memory for them all would keep the interpreter from the event loop while it is being filled.
    """

    width: int
    height: int
    strips: tuple[bytes, ...]


def check(data: bytes, max_pixels: int) -> None:
    """Read no more than the header, so that a bad upload costs neither memory nor a load.

    Raises:
        ImageError: it is no image of a known format.
        ImageTooLargeError: it has more pixels than `max_pixels`.

    """
    with _open(data, max_pixels):
        return


def decode(data: bytes, max_pixels: int) -> RgbImage:
    """Decode the first frame, turned as its EXIF orientation says; transparency is laid on white.

    Raises:
        ImageError: the image is damaged or of no known format.
        ImageTooLargeError: it has more pixels than `max_pixels`.

    """
    with _open(data, max_pixels) as image:
        try:
            ImageOps.exif_transpose(image, in_place=True)
            upright = _rgb(image)
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise ImageError(f"the image is damaged: {error}") from error
        return RgbImage(upright.width, upright.height, _strips(upright))


def _open(data: bytes, max_pixels: int) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ImageError(f"the upload is no image; send one of {', '.join(FORMATS)}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"the image is damaged: {error}") from error
    if image.width * image.height > max_pixels:
        image.close()
        raise ImageTooLargeError(
            f"the image has {image.width} x {image.height} pixels, {max_pixels} are allowed; scale it down"
        )
    return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # Pillow would clip these to white without a word
        raise ImageError(f"the image has more than 8 bits per channel (mode {image.mode}); convert it to 8 bits")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def _strips(image: Image.Image) -> tuple[bytes, ...]:
    rows = max(1, STRIP_BYTES // (image.width * 3))
    tops = range(0, image.height, rows)
    return tuple(image.crop((0, top, image.width, min(top + rows, image.height))).tobytes() for top in tops)
