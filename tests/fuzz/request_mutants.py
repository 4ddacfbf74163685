"""Mutants of requests: JSON, forms and headers. The same for a number."""

import base64
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from tests.fuzz.http_client import Message
from tests.fuzz.image_mutants import flipped, repeated, truncated, with_a_number, without_a_piece
from tests.fuzz.image_seeds import drawn, encoded

PNG = encoded(drawn("RGB", 8, 6), "PNG")
TEXT = base64.b64encode(PNG).decode()
JSON, BOUNDARY = b"application/json", b"boundary-of-parts"
FORM = b"multipart/form-data; boundary=" + BOUNDARY
SEGMENT, CONCEPT, VISUAL = "/api/v1/segment", "/sam3/concept_segment", "/sam3/visual_segment"
CONTROL = ("/api/v1/unload", "/api/v1/load", "/api/v1/hold/renew")
GETS = ("/health", "/ready", "/api/v1/gpu", "/metrics", "/openapi.json", "/docs", "/nowhere", "/")
Header = tuple[bytes, bytes]

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 0.5, 1e308, 10**400, 2**70, "", "\0", "\ud800", "🦜" * 400, "x" * 600, [], {}, [[]], [None],
    {"$ref": "#"}, float("nan"), float("-inf"), "../../etc/passwd", ["a"] * 2000,
    {"text": "cat"}, "visual", [0, 0, 1, 1],
)  # fmt: skip
BODIES: tuple[tuple[str, dict[str, Any]], ...] = (
    (SEGMENT, {"image": TEXT, "prompts": ["cat", {"text": "dog", "threshold": 0.4, "class_id": 1}], "format": "box"}),
    (
        SEGMENT,
        {
            "image": f"data:image/png;base64,{TEXT}",
            "prompts": [{"exemplars": [{"box": [0, 0, 4, 4]}, {"box": [1, 1, 2, 2], "positive": False}]}],
            "threshold": 0.3,
            "yolo_labels": "polygon",
            "max_instances": 3,
            "nms_iou": 0.5,
        },
    ),
    (
        CONCEPT,
        {
            "image": {"type": "base64", "value": TEXT},
            "prompts": [{"type": "visual", "boxes": [{"x": 1, "y": 1, "width": 3, "height": 3}], "box_labels": [1]}],
            "output_prob_thresh": 0.5,
            "format": "rle",
        },
    ),
    (
        SEGMENT,
        {
            "image": TEXT,
            "objects": [
                {"points": [{"x": 1, "y": 2}, {"x": 3, "y": 0.5, "positive": False}], "multimask": True},
                {"box": [0, 0, 4, 4], "mask": {"size": [6, 8], "counts": "`1"}, "class_id": 3},
            ],
        },
    ),
    (SEGMENT, {"image_id": "5f" * 32, "objects": [{"points": [{"x": 1, "y": 2}]}]}),
    (
        VISUAL,
        {
            "image": {"type": "base64", "value": TEXT},
            "prompts": {"prompts": [{"points": [{"x": 1, "y": 2, "positive": True}]}]},
            "format": "json",
            "multimask_output": True,
        },
    ),
    (CONTROL[0], {"holder": "job/a", "fence": 1, "renew_key": "key", "ttl_seconds": 60}),
    (CONTROL[2], {"fence": 1, "renew_key": "key"}),
)


def message(number: int) -> Message:
    """Return the mutant of this number."""
    chance = random.Random(number)
    return chance.choice((_json, _json, _json, _form, _form, _get, _headers, _no_http))(chance)


def image_message(image: bytes) -> Message:
    """Return a form with this image, as clients send it."""
    fields = [_part(b"image", image, b"a.png"), _part(b"prompt", b"cat"), _part(b"format", b"box")]
    return _post(SEGMENT, FORM, _parts(fields))


def _post(path: str, kind: bytes, body: bytes, *more: Header) -> Message:
    headers = [(b"Host", b"sam3"), (b"Content-Type", kind), (b"Content-Length", b"%d" % len(body)), *more]
    return Message(_head(b"POST", path.encode(), headers) + body)


def _head(method: bytes, path: bytes, headers: Sequence[Header], version: bytes = b"HTTP/1.1") -> bytes:
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return b"%s %s %s\r\n%s\r\n" % (method, path, version, lines)


def _json(chance: random.Random) -> Message:
    path, body = chance.choice(BODIES)
    changed = json.loads(json.dumps(body))
    for _ in range(chance.randint(1, 3)):
        changed = _changed(changed, chance)
    try:
        text = json.dumps(changed, ensure_ascii=chance.random() < 0.7).encode("utf-8", "surrogatepass")
    except ValueError:  # a number too long for Python to write
        text = b'{"image": %s}' % (b"9" * 5000)
    if chance.random() < 0.4:
        text = chance.choice(TEXT_MUTATIONS)(text, chance)
    return _post(path, JSON, text)


def _changed(value: Any, chance: random.Random) -> Any:
    """Replace, remove, add or nest at a random place."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        match chance.randrange(6):
            case 0:
                return {name: each for name, each in value.items() if name != key}
            case 1:
                return value | {chance.choice(("extra", "", "\0", key.upper(), "request")): chance.choice(ODD)}
            case _:
                return value | {key: _changed(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        return [*value[:at], _changed(value[at], chance), *value[at + 1 :] * chance.randint(0, 3)]
    return chance.choice(ODD)


def _with_bom(text: bytes, chance: random.Random) -> bytes:
    return chance.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")) + text


def _deeply_nested(text: bytes, chance: random.Random) -> bytes:
    depth = chance.choice((100, 1_000, 100_000))
    return b'{"prompts": ' + b"[" * depth + b"]" * (depth if chance.random() < 0.5 else 0)


def _otherwise_encoded(text: bytes, chance: random.Random) -> bytes:
    return text.decode("utf-8", "replace").encode(chance.choice(("utf-16", "utf-32", "utf-7")), "replace")


TEXT_MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    truncated,
    flipped,
    without_a_piece,
    repeated,
    with_a_number,
    _with_bom,
    _deeply_nested,
    _otherwise_encoded,
)


def _part(name: bytes, content: bytes, file_name: bytes | None = None, kind: bytes | None = None) -> bytes:
    head = b'Content-Disposition: form-data; name="%s"' % name
    head += b'; filename="%s"' % file_name if file_name is not None else b""
    head += b"\r\nContent-Type: %s" % kind if kind is not None else b""
    return head + b"\r\n\r\n" + content


def _parts(parts: Sequence[bytes]) -> bytes:
    return b"".join(b"--%s\r\n%s\r\n" % (BOUNDARY, part) for part in parts) + b"--%s--\r\n" % BOUNDARY


FIELDS = (b"prompt", b"class_id", b"threshold", b"format", b"yolo_labels", b"max_instances", b"nms_iou", b"request",
          b"image", b"extra", b"", b"\0", "é".encode())  # fmt: skip


def _form(chance: random.Random) -> Message:
    parts = [_part(b"image", PNG, chance.choice((b"a.png", b"", b"\0", b"../x", b'"', b"x" * 5000)))]
    parts.append(_part(b"prompt", b"cat"))
    for _ in range(chance.randint(0, 4)):
        value = str(chance.choice(ODD)).encode("utf-8", "surrogatepass")
        kind = chance.choice((None, None, b"application/json", b"text/plain; charset=utf-16", b"\0"))
        parts.append(_part(chance.choice(FIELDS), value, chance.choice((None, None, None, b"f")), kind))
    chance.shuffle(parts)
    body = _parts(parts * chance.choice((1, 1, 1, 1, 300)))
    if chance.random() < 0.5:
        body = chance.choice((truncated, flipped, without_a_piece, repeated, with_a_number))(body, chance)
    boundaries = (FORM, FORM, FORM, FORM, b"multipart/form-data", FORM + b"x", FORM + b"; charset=x", FORM + b"\xe9")
    return _post(SEGMENT, chance.choice(boundaries), body)


def _get(chance: random.Random) -> Message:
    method = chance.choice((b"GET", b"HEAD", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"QUERY"))
    path = chance.choice((*GETS, SEGMENT, *CONTROL, "/%00", "/../x", "//health", "/health?a=%ff", "/" + "a" * 3000))
    return Message(_head(method, path.encode(), [(b"Host", b"sam3")]), is_head=method == b"HEAD")


ODD_HEADERS: tuple[Header, ...] = (
    (b"Authorization", b"Bearer guessed"), (b"Authorization", b"Bearer \xe9\xff"), (b"Authorization", b"Basic !"),
    (b"Authorization", b"Bearer"), (b"Authorization", b"Bearer " + b"x" * 5000), (b"Accept", b"\xff"),
    (b"Accept-Encoding", b"gzip;q=nan"), (b"Content-Encoding", b"gzip"), (b"Content-Type", b"text/html"),
    (b"Content-Type", b"application/json; charset=utf-16"), (b"Content-Type", b";;=\xff"), (b"Cookie", b"=;=;\xff"),
    (b"Expect", b"100-continue"), (b"Forwarded", b"for=\xff"), (b"Host", b"other"), (b"Host", b"["),
    (b"If-None-Match", b"*"), (b"Range", b"bytes=9-1"), (b"Origin", b"null"), (b"X-Forwarded-For", b"1.1.1.1" * 99),
    (b"Upgrade", b"h2c"), (b"TE", b"trailers"),
)  # fmt: skip


def _headers(chance: random.Random) -> Message:
    """A request that would be answered, with headers in which no sense can be made."""
    more = [chance.choice(ODD_HEADERS) for _ in range(chance.randint(1, 5))]
    path, body = chance.choice(BODIES)
    kind = chance.choice((JSON, JSON, b"Application/JSON", b"application/json; charset=latin-9", b"application/x", b""))
    if chance.random() < 0.3:
        return Message(_head(b"GET", chance.choice(GETS).encode(), [(b"Host", b"sam3"), *more]))
    return _post(path, kind, json.dumps(body).encode(), *more)


def _no_http(chance: random.Random) -> Message:
    """Bytes of a request damaged anywhere, its length and line ends too; the client hangs up after them."""
    whole = _form(chance).content if chance.random() < 0.3 else _headers(chance).content
    head, _, body = whole.partition(b"\r\n\r\n")
    for _ in range(chance.randint(1, 3)):
        head = chance.choice((truncated, flipped, without_a_piece, repeated, with_a_number))(head or b"\0", chance)
    odd = (b"Transfer-Encoding: chunked", b"Content-Length: -1", b"Content-Length: 99999999999", b"X" * 9000, b" : ")
    if chance.random() < 0.4:
        head += b"\r\n" + chance.choice(odd)
    return Message(head + b"\r\n\r\n" + body, is_http=False)
