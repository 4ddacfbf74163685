"""From a request's body to the image's bytes and the options: JSON with the image as text, or a form with it as a file.

How long this takes depends on the body: it runs in intake processes, never in the server.
"""

import asyncio
import base64
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from residency.errors import BodyError
from residency.field_errors import field_error, truncate, validation_error
from sam3_server.errors import ImageError
from sam3_server.intake.image_texts import OTHER_BYTES, too_much_beside_the_image, without_images
from sam3_server.intake.segment_schemas import MOST_IMAGES, SegmentOptions, SegmentRequest
from sam3_server.memory_files import Bytes

JSON, FORM = "application/json", "multipart/form-data"
MOST_FIELDS = 1000
REPEATABLE = {"prompt", "class_id", "images"}
ANYWHERE_IN_BASE64 = b" \t\r\n"
FORM_PIECE = 1 << 18
URL_SAFE = bytes.maketrans(b"-_", b"+/")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some editors and clients write it before UTF-8; JSON has none (RFC 8259, 8.1)

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True)
class Asked:
    """What a request asks for, on an encoded image, or on one that the server knows by its id.

    `options` None: only the image's features.
    """

    image: bytes | None
    options: SegmentOptions | None
    image_id: str | None = None


@dataclass(frozen=True)
class AskedImages:
    """What a request asks for on each of several encoded images, which are in base64 if they are texts."""

    images: list[bytes]
    texts: bool
    options: SegmentOptions


@dataclass(frozen=True)
class Parsed(Generic[Body]):
    """A JSON body with marks for its images' texts, where those were too long to be parsed with the rest."""

    model: Body
    _texts: Mapping[str, str]

    def image(self, field: str | None) -> bytes | None:
        """Return the image that the value of its field stands for; None without one.

        Raises:
            BodyError: a string that was too long is another field.
            ImageError: it is not base64.

        """
        if not self._texts:
            return None if field is None else decoded(field)
        if field is None or self._texts.keys() != {field}:
            raise too_much_beside_the_image()
        return decoded(self._texts[field])

    def images(self, field: Sequence[str]) -> list[bytes]:
        """Return the texts of several images that the values of their field stand for.

        A character that is not ASCII becomes `?`, which is no base64 either, and no longer than it was in the body.

        Raises:
            BodyError: a string that was too long is another field.

        """
        if not self._texts.keys() <= set(field):
            raise too_much_beside_the_image()
        return [self._texts.get(each, each).encode("ascii", "replace") for each in field]


def read(content_type: str, body: Bytes) -> Asked | AskedImages:
    """Return what a request of this server's own route asks for.

    Raises:
        BodyError: the body is neither JSON nor a form (415), no form that can be read (400), has too much beside the
            image (413), or a field is invalid (422).
        ImageError: the image's text is not base64.

    """
    kind = content_type.split(";")[0].strip().lower()
    if kind == JSON:
        parsed = read_json(body, SegmentRequest, MOST_IMAGES)
        if parsed.model.images is not None:
            images = parsed.images(parsed.model.images)
            return AskedImages(images, texts=True, options=_without_objects(parsed.model))
        return Asked(parsed.image(parsed.model.image), parsed.model, parsed.model.image_id)
    if kind == FORM:
        return _from_form(_form(content_type, body), len(body))
    raise BodyError(415, f"the request has the content type {truncate(kind, 100) or 'none'}: send {JSON} or {FORM}")


def read_json(body: Bytes, model: type[Body], most_images: int = 1) -> Parsed[Body]:
    """Return a JSON body. It may have `most_images` images in a field `images`, or else one.

    Raises:
        BodyError: it is no JSON, a field is invalid (422), or it has too much beside the image (413).

    """
    small, texts = (body[:], dict[str, str]()) if len(body) <= OTHER_BYTES else without_images(body, most_images)
    try:
        return Parsed(model.model_validate_json(small.removeprefix(BYTE_ORDER_MARK)), texts)
    except ValidationError as error:
        raise _invalid(error) from error


def decoded(text: str) -> bytes:
    """Return what base64, url-safe or not, plain or in a data URI, stands for; padding and line breaks are optional.

    Raises:
        ImageError: it is not base64.

    """
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise ImageError("image: a data URI must be written data:<media type>;base64,<text>")
    try:
        bare = text.encode("ascii").translate(URL_SAFE, ANYWHERE_IN_BASE64).rstrip(b"=")
        return base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True)
    except UnicodeEncodeError as error:
        raise ImageError("image: not base64 (it has characters other than ASCII); send base64, or a form") from error
    except ValueError as error:
        raise ImageError(f"image: not base64 ({error}); send the file's bytes in base64, or a form") from error


class _InMemory(MultiPartParser):
    """Starlette's parser, which keeps files in memory, where the body is already, so it never waits."""

    spool_max_size = 1 << 40


def _form(content_type: str, body: Bytes) -> FormData:
    async def pieces() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body), FORM_PIECE):
            yield body[start : start + FORM_PIECE]

    async def parsed() -> FormData:
        headers = Headers({"content-type": content_type})
        parser = _InMemory(headers, pieces(), max_files=MOST_FIELDS, max_fields=MOST_FIELDS, max_part_size=OTHER_BYTES)
        return await parser.parse()

    try:
        return asyncio.run(parsed())
    except MultiPartException as error:
        raise BodyError(400, truncate(error.message, 200)) from error


def _from_form(form: FormData, size: int) -> Asked | AskedImages:
    fields = _fields(form)
    if "images" in fields:
        return _several(fields, size)
    image = fields.pop("image", None)
    if not isinstance(image, UploadFile):
        raise field_error("image", "send the image as a file of this form")
    data = _content(image)
    if size - len(data) > OTHER_BYTES:
        raise too_much_beside_the_image()
    return Asked(data, _options(fields))


def _content(file: UploadFile) -> bytes:
    with file.file:  # Python warns about each file that is not closed, and warnings are logged
        return file.file.read()


def _several(fields: dict[str, Any], size: int) -> AskedImages:
    files = fields.pop("images")
    if "image" in fields:
        raise field_error("images", "send either image or images")
    if not all(isinstance(each, UploadFile) for each in files):
        raise field_error("images", "send the images as files of this form")
    if len(files) > MOST_IMAGES:
        raise field_error("images", f"{len(files)} images were sent, {MOST_IMAGES} are allowed")
    images = list(map(_content, files))
    if size - sum(map(len, images)) > OTHER_BYTES:
        raise too_much_beside_the_image()
    return AskedImages(images, texts=False, options=_without_objects(_options(fields)))


def _without_objects(options: SegmentOptions) -> SegmentOptions:
    """Return options for several images; raises BodyError: they have objects, whose points are on one image."""
    if options.objects:
        raise field_error("objects", "send objects with one image: their points and boxes are on that image")
    return options


def _fields(form: FormData) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in form:
        values = form.getlist(name)
        if name not in REPEATABLE and len(values) > 1:
            raise field_error(name, "this field may be sent once")
        fields[name] = values if name in REPEATABLE else values[0]
    return fields


def _options(fields: Mapping[str, Any]) -> SegmentOptions:
    if "request" not in fields:
        return _simple(dict(fields))
    others = ", ".join(sorted(fields.keys() - {"request"}))
    if others or isinstance(fields["request"], UploadFile):
        raise field_error(
            "request", f"send JSON here and no further field ({truncate(others, 100) or 'a file'} was sent)"
        )
    try:
        return SegmentOptions.model_validate_json(fields["request"].removeprefix(BYTE_ORDER_MARK.decode()))
    except ValidationError as error:
        raise _invalid(error, "request") from error


def _simple(fields: dict[str, Any]) -> SegmentOptions:
    texts, classes = fields.pop("prompt", []), fields.pop("class_id", [])
    if not texts:
        raise field_error("prompt", "say what to look for, once or several times, or send `request`")
    if classes and len(classes) != len(texts):
        raise field_error("class_id", f"{len(classes)} classes were sent for {len(texts)} prompts; send one for each")
    prompts = [{"text": text} for text in texts]
    for prompt, class_id in zip(prompts, classes, strict=False):
        prompt["class_id"] = class_id
    try:
        return SegmentOptions.model_validate(fields | {"prompts": prompts})
    except ValidationError as error:
        raise _invalid(error) from error


def _invalid(error: ValidationError, *where: str) -> BodyError:
    return validation_error(error.errors(include_url=False, include_context=False, include_input=False), "body", *where)
