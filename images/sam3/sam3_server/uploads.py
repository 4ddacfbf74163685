"""From a request to the image's bytes and the options: JSON with the image as text, or a form with it as a file."""

import asyncio
import base64
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from sam3_server.errors import ImageError
from sam3_server.segment_schemas import SegmentOptions, SegmentRequest

JSON, FORM = "application/json", "multipart/form-data"
MOST_FIELDS = 1000
REPEATABLE = {"prompt", "class_id"}
ANYWHERE_IN_BASE64 = b" \t\r\n"
BASE64_PIECE = 1 << 18

Body = TypeVar("Body", bound=BaseModel)


async def read(request: Request) -> tuple[bytes, SegmentOptions]:
    """Return the encoded image and what to find on it.

    Raises:
        RequestValidationError: a field makes no sense.
        ImageError: the image's text is no base64.
        HTTPException: the body is neither JSON nor a form (415), or no form that can be read (400).

    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == JSON:
        body = await read_json(request, SegmentRequest)
        return await decoded(body.image), body
    if kind == FORM:
        async with request.form(max_files=1, max_fields=MOST_FIELDS) as form:
            return await _from_form(form)
    raise HTTPException(415, f"the request has the content type {kind or 'none'}: send {JSON} or {FORM}")


async def read_json(request: Request, model: type[Body]) -> Body:
    """Return the request's JSON body.

    Raises:
        RequestValidationError: it is no JSON, or a field makes no sense.

    """
    data = await request.body()
    try:
        return await asyncio.to_thread(model.model_validate_json, data)
    except ValidationError as error:
        raise _invalid(error) from error


async def decoded(text: str) -> bytes:
    """Return what base64, plain or in a data URI, stands for. Line breaks and missing padding are forgiven.

    Raises:
        ImageError: it is no base64.

    """
    return await asyncio.to_thread(_decoded, text)


def _decoded(text: str) -> bytes:
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise ImageError("image: a data URI must be written data:<media type>;base64,<text>")
    try:
        return b"".join(_pieces(text))
    except ValueError as error:
        raise ImageError(f"image: this is no base64 ({error}); send the file's bytes in base64, or a form") from error


def _pieces(text: str) -> Iterator[bytes]:
    """Decode piece by piece: all at once would keep the interpreter from the event loop for too long."""
    bare = text.encode("ascii").translate(None, ANYWHERE_IN_BASE64).rstrip(b"=")
    if b"=" in bare:
        raise ValueError("padding in the middle")
    for start in range(0, len(bare), BASE64_PIECE):
        piece = bare[start : start + BASE64_PIECE]
        yield base64.b64decode(piece + b"=" * (-len(piece) % 4), validate=True)


async def _from_form(form: FormData) -> tuple[bytes, SegmentOptions]:
    fields = _fields(form)
    image = fields.pop("image", None)
    if not isinstance(image, UploadFile):
        raise _complaint("image", "send the image as a file of this form")
    options = _options(fields)
    return await image.read(), options


def _fields(form: FormData) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in form:
        values = form.getlist(name)
        if name not in REPEATABLE and len(values) > 1:
            raise _complaint(name, "this field may be sent once")
        fields[name] = values if name in REPEATABLE else values[0]
    return fields


def _options(fields: Mapping[str, Any]) -> SegmentOptions:
    if "request" not in fields:
        return _simple(dict(fields))
    others = ", ".join(sorted(fields.keys() - {"request"}))
    if others or isinstance(fields["request"], UploadFile):
        raise _complaint("request", f"send JSON here and no further field ({others or 'a file'} was sent)")
    try:
        return SegmentOptions.model_validate_json(fields["request"])
    except ValidationError as error:
        raise _invalid(error, "request") from error


def _simple(fields: dict[str, Any]) -> SegmentOptions:
    texts, classes = fields.pop("prompt", []), fields.pop("class_id", [])
    if not texts:
        raise _complaint("prompt", "say what to look for, once or several times, or send `request`")
    if classes and len(classes) != len(texts):
        raise _complaint("class_id", f"{len(classes)} classes were sent for {len(texts)} prompts; send one for each")
    prompts = [{"text": text} for text in texts]
    for prompt, class_id in zip(prompts, classes, strict=False):
        prompt["class_id"] = class_id
    try:
        return SegmentOptions.model_validate(fields | {"prompts": prompts})
    except ValidationError as error:
        raise _invalid(error) from error


def _invalid(error: ValidationError, *where: str) -> RequestValidationError:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return RequestValidationError([{**each, "loc": ("body", *where, *each["loc"])} for each in found])


def _complaint(field: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"type": "value_error", "loc": ("body", field), "msg": message}])
