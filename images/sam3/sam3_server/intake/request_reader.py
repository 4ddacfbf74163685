"""Read a whole request: from its body to the query and the pixels. Pure."""

from collections.abc import Sequence

from residency.field_errors import field_error
from sam3_server.errors import ImageTooLargeError
from sam3_server.intake import anylabeling, body_parser, image_decoder, roboflow
from sam3_server.intake.anylabeling import PredictRequest
from sam3_server.intake.body_parser import Asked, AskedImages
from sam3_server.intake.protocol import BatchHead, ParsedQuery, Read, ReadImage, RequestLimits, Terms
from sam3_server.intake.roboflow import ConceptRequest
from sam3_server.intake.roboflow_visual import EmbedRequest, EmbedTerms, VisualRequest, VisualTerms
from sam3_server.intake.segment_schemas import SegmentOptions
from sam3_server.memory_files import Bytes, Piece
from sam3_server.worker.placement import fitted
from sam3_server.worker.protocol import Query

FEATURES = Query(prompts=[], max_instances=1)


def read(request: Read, body: Bytes, limits: RequestLimits) -> tuple[ParsedQuery | BatchHead, Sequence[Piece]]:
    """Return what a request asks for, and its pixels in strips: none for an image that it names by its id.

    Several images are returned as they were sent, for `read_image`: one decoded image may be in memory at a time.

    Raises:
        ServiceError: its subclasses say what is wrong with the request.

    """
    asked, terms = _parsed(request, body)
    query = FEATURES if asked.options is None else _query(asked.options, limits)
    if isinstance(asked, AskedImages):
        return BatchHead(query=query, sizes=list(map(len, asked.images)), texts=asked.texts), asked.images
    if asked.image is None:
        known = {"image_id": asked.image_id, "mask_pixels": limits.mask_pixels}
        return ParsedQuery(query=query.model_copy(update=known), width=0, height=0, terms=terms), ()
    return _decoded(asked.image, query, terms, limits)


def read_image(request: ReadImage, batch: Bytes, limits: RequestLimits) -> tuple[ParsedQuery, Sequence[Piece]]:
    """Return what is asked of one image of several, and its pixels in strips.

    Raises:
        ServiceError: its subclasses say what is wrong with the image.

    """
    head = BatchHead.model_validate_json(batch[: request.size])
    start = request.size + sum(head.sizes[: request.place])
    image = batch[start : start + head.sizes[request.place]]
    return _decoded(body_parser.decoded(image.decode()) if head.texts else image, head.query, None, limits)


def _decoded(
    image: bytes, query: Query, terms: Terms | None, limits: RequestLimits
) -> tuple[ParsedQuery, Sequence[Piece]]:
    if len(image) > limits.image_mib << 20:
        raise ImageTooLargeError(f"the image has more than {limits.image_mib} MiB; send a smaller one")
    pixels = image_decoder.decode(image, limits.pixels)
    query = fitted(query, pixels.width, pixels.height, limits.mask_pixels)
    return ParsedQuery(query=query, width=pixels.width, height=pixels.height, terms=terms), pixels.strips


def _parsed(request: Read, body: Bytes) -> tuple[Asked | AskedImages, Terms | None]:
    match request.route:
        case "segment":
            return body_parser.read(request.content_type, body), None
        case "concept":
            concept = body_parser.read_json(body, ConceptRequest)
            image = concept.image(concept.model.image.value)
            return Asked(image, concept.model.options()), roboflow.terms(concept.model)
        case "visual":
            visual = body_parser.read_json(body, VisualRequest)
            image = visual.image(visual.model.encoded())
            image_id = visual.model.image_id if image is None else None
            return Asked(image, visual.model.options(), image_id), VisualTerms()
        case "embed":
            embed = body_parser.read_json(body, EmbedRequest)
            return Asked(embed.image(embed.model.image.value), None), EmbedTerms(image_id=embed.model.image_id)
        case "anylabeling":
            predict = body_parser.read_json(body, PredictRequest)
            return Asked(predict.image(predict.model.image), predict.model.options()), anylabeling.terms(predict.model)


def _query(options: SegmentOptions, limits: RequestLimits) -> Query:
    sent = len(options.prompts) + len(options.objects)
    if sent > limits.prompts:
        what = "prompts and objects" if options.objects else "prompts"
        raise field_error("prompts", f"{sent} {what} were sent, {limits.prompts} are allowed")
    if options.max_instances is not None and options.max_instances > limits.instances:
        raise field_error("max_instances", f"{limits.instances} instances are allowed for each prompt")
    return options.query(limits.instances)
