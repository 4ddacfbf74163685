"""From an upload's bytes to upright RGB pixels, within limits. Decoding is slow: call it off the event loop."""

import io

from PIL import Image, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from sam3_server.errors import ImageError, ImageTooLargeError
from sam3_server.intake import file_formats, orientation
from sam3_server.worker.rgb_image import STRIP_BYTES, RgbImage

Image.MAX_IMAGE_PIXELS = None  # the limit that counts is the one that callers give
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
BITS_PER_SAMPLE = 258  # a tag of TIFF
LONGEST_REASON = 200
LONGEST_SIDE = 1 << 15  # scaling a thin image to the model's square takes memory by its longer side


class _DamagedError(ImageError):
    """Pillow failed on the image; `__cause__` is its own exception."""


def decode(data: bytes, max_pixels: int) -> RgbImage:
    """Decode the first frame, turned as its EXIF orientation says; transparency is blended with white.

    A JPEG that lacks only its end marker is decoded, as viewers do.

    Raises:
        ImageError: the image is damaged, of no known format, or has more than 8 bits per channel.
        ImageTooLargeError: it has more pixels than `max_pixels`.
        MemoryError: this process may not take the memory that it needs.

    """
    try:
        return _decode(data, max_pixels)
    except _DamagedError as error:
        if not file_formats.is_jpeg(data) or "truncated" not in str(error):
            raise
        closed, continued = (_decode(ended, max_pixels) for ended in file_formats.ended_jpegs(data))
        if closed != continued:
            raise
        return closed


def _decode(data: bytes, max_pixels: int) -> RgbImage:
    with _open(data, max_pixels) as image:
        try:
            turn = orientation.load_and_read(image)
            rgb = _rgb(image)
            upright = rgb if turn is None else rgb.transpose(turn)
        except MemoryError:
            raise
        except Exception as error:
            raise _damaged(error) from error
        return RgbImage(upright.width, upright.height, _strips(upright))


def _open(data: bytes, max_pixels: int) -> Image.Image:
    if file_formats.is_heic(data):
        raise ImageError("HEIC images are not supported; convert the image to JPEG, PNG or AVIF")
    try:
        image = Image.open(io.BytesIO(file_formats.without_avif_exif(data)), formats=FORMATS)
    except UnidentifiedImageError as error:
        known = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise ImageError(f"the image has an unknown format; send {known} with 8 bits per channel") from error
    except MemoryError:
        raise
    except Exception as error:
        raise _damaged(error) from error
    try:
        _require_within(image, max_pixels)
    except BaseException:
        image.close()
        raise
    return image


def _damaged(error: Exception) -> _DamagedError:
    """Return the error for any exception of Pillow: which ones its parsers raise depends only on the bytes."""
    reason = str(error) if isinstance(error, OSError | SyntaxError | ValueError) else type(error).__name__
    return _DamagedError(f"the image is damaged: {reason[:LONGEST_REASON]}")


def _require_within(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise ImageTooLargeError(
            f"the image has {image.width} x {image.height} pixels, {max_pixels} are allowed; scale it down"
        )
    if max(image.size) > LONGEST_SIDE:
        raise ImageTooLargeError(
            f"the image has {image.width} x {image.height} pixels, sides of {LONGEST_SIDE} are allowed; scale it down "
            "or cut it"
        )
    if _deeper_than_8_bits(image):
        raise ImageError(
            "the image has more than 8 bits per channel; convert it to 8 bits, scaled by the range that its values "
            "really have (cameras often store 12 bits in 16)"
        )


def _deeper_than_8_bits(image: Image.Image) -> bool:
    """Whether the file has samples of more than 8 bits and does not say what their range is.

    Pillow would clip these to white, or keep the upper 8 of 16 bits, which are black where 12 are used. AVIF states its
    depth and is scaled by it.
    """
    if isinstance(image, PngImagePlugin.PngImageFile):
        return any(";16" in str(tile.args) for tile in image.tile)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return any(bits > 8 for bits in image.tag_v2.get(BITS_PER_SAMPLE, (1,)))
    return image.mode.startswith(("I", "F"))


def _rgb(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def _strips(image: Image.Image) -> tuple[bytes, ...]:
    rows = max(1, STRIP_BYTES // (image.width * 3))
    tops = range(0, image.height, rows)
    return tuple(image.crop((0, top, image.width, min(top + rows, image.height))).tobytes() for top in tops)
