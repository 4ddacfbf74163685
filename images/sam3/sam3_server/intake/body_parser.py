"""From a request's body to the image's bytes and the options: JSON with the image as text, or a form with it as a file.

How long this takes depends on the body: it runs in intake processes, never in the server.
"""

import asyncio
import base64
import re
import secrets
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from residency.errors import BodyError
from residency.field_errors import field_error, truncate, validation_error
from sam3_server.errors import ImageError
from sam3_server.intake.segment_schemas import SegmentOptions, SegmentRequest
from sam3_server.memory_files import Bytes

JSON, FORM = "application/json", "multipart/form-data"
OTHER_BYTES = 1 << 20  # of a body, for everything in it that is not the image
MOST_FIELDS = 1000
REPEATABLE = {"prompt", "class_id"}
ANYWHERE_IN_BASE64 = b" \t\r\n"
FORM_PIECE = 1 << 18
STRING = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"?', re.DOTALL)
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
class Parsed(Generic[Body]):
    """A JSON body without its image's text, where that was too long to be parsed with the rest."""

    model: Body
    _mark: str | None
    _text: str

    def image(self, field: str | None) -> bytes | None:
        """Return the image that the value of its field stands for; None without one.

        Raises:
            BodyError: the string that was too long is another field.
            ImageError: it is not base64.

        """
        if self._mark is None:
            return None if field is None else _decoded(field)
        if field != self._mark:
            raise _too_much_beside_the_image()
        return _decoded(self._text)


def read(content_type: str, body: Bytes) -> Asked:
    """Return what a request of this server's own route asks for.

    Raises:
        BodyError: the body is neither JSON nor a form (415), no form that can be read (400), has too much beside the
            image (413), or a field is invalid (422).
        ImageError: the image's text is not base64.

    """
    kind = content_type.split(";")[0].strip().lower()
    if kind == JSON:
        parsed = read_json(body, SegmentRequest)
        return Asked(parsed.image(parsed.model.image), parsed.model, parsed.model.image_id)
    if kind == FORM:
        return _from_form(_form(content_type, body), len(body))
    raise BodyError(415, f"the request has the content type {truncate(kind, 100) or 'none'}: send {JSON} or {FORM}")


def read_json(body: Bytes, model: type[Body]) -> Parsed[Body]:
    """Return a JSON body.

    Raises:
        BodyError: it is no JSON, a field is invalid (422), or it has too much beside the image (413).

    """
    small, mark, text = (body[:], None, "") if len(body) <= OTHER_BYTES else _without_longest_string(body)
    try:
        return Parsed(model.model_validate_json(small.removeprefix(BYTE_ORDER_MARK)), mark, text)
    except ValidationError as error:
        raise _invalid(error) from error


def _without_longest_string(body: Bytes) -> tuple[bytes, str, str]:
    """Return the body with a mark for its longest string, the mark, and that string.

    So a parser gets at most a megabyte; the field that the string belongs to is known after parsing.
    """
    start = end = 0
    for found in STRING.finditer(body):
        if found.end(1) - found.start(1) > end - start:
            start, end = found.span(1)
        if found.end() - (end - start) > OTHER_BYTES:
            break
    if len(body) - (end - start) > OTHER_BYTES:
        raise _too_much_beside_the_image()
    mark = secrets.token_hex(16)
    return body[:start] + mark.encode() + body[end:], mark, _unescaped(body[start:end])


def _unescaped(string: bytes) -> str:
    """Return a JSON string's text. Base64 needs no escapes, but some encoders write `\\/` for a slash."""
    return string.replace(b"\\/", b"/").decode("utf-8", "replace")


def _too_much_beside_the_image() -> BodyError:
    return BodyError(
        413, f"the request has more than {OTHER_BYTES >> 20} MiB beside the image; send fewer or shorter prompts"
    )


def _decoded(text: str) -> bytes:
    """Return what base64, url-safe or not, plain or in a data URI, stands for; padding and line breaks are optional."""
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
        parser = _InMemory(headers, pieces(), max_files=1, max_fields=MOST_FIELDS, max_part_size=OTHER_BYTES)
        return await parser.parse()

    try:
        return asyncio.run(parsed())
    except MultiPartException as error:
        raise BodyError(400, truncate(error.message, 200)) from error


def _from_form(form: FormData, size: int) -> Asked:
    fields = _fields(form)
    image = fields.pop("image", None)
    if not isinstance(image, UploadFile):
        raise field_error("image", "send the image as a file of this form")
    data = image.file.read()
    if size - len(data) > OTHER_BYTES:
        raise _too_much_beside_the_image()
    return Asked(data, _options(fields))


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
