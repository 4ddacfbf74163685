"""Read a whole request: from its body to the query and the pixels. Pure."""

from residency.field_errors import field_error
from sam3_server.errors import ImageTooLargeError
from sam3_server.intake import anylabeling, body_parser, image_decoder, roboflow
from sam3_server.intake.anylabeling import PredictRequest
from sam3_server.intake.body_parser import Asked
from sam3_server.intake.protocol import ParsedQuery, Read, RequestLimits, Terms
from sam3_server.intake.roboflow import ConceptRequest
from sam3_server.intake.roboflow_visual import EmbedRequest, EmbedTerms, VisualRequest, VisualTerms
from sam3_server.intake.segment_schemas import SegmentOptions
from sam3_server.memory_files import Bytes
from sam3_server.worker.placement import fitted
from sam3_server.worker.protocol import Query
from sam3_server.worker.rgb_image import RgbImage

FEATURES = Query(prompts=[], max_instances=1)
NO_PIXELS = RgbImage(0, 0, ())


def read(request: Read, body: Bytes, limits: RequestLimits) -> tuple[ParsedQuery, RgbImage]:
    """Return what a request asks for, and its pixels: none for an image that it names by its id.

    Raises:
        ServiceError: its subclasses say what is wrong with the request.

    """
    asked, terms = _parsed(request, body)
    query = FEATURES if asked.options is None else _query(asked.options, limits)
    if asked.image is None:
        known = {"image_id": asked.image_id, "mask_pixels": limits.mask_pixels}
        return ParsedQuery(query=query.model_copy(update=known), width=0, height=0, terms=terms), NO_PIXELS
    if len(asked.image) > limits.image_mib << 20:
        raise ImageTooLargeError(f"the image has more than {limits.image_mib} MiB; send a smaller one")
    pixels = image_decoder.decode(asked.image, limits.pixels)
    query = fitted(query, pixels.width, pixels.height, limits.mask_pixels)
    return ParsedQuery(query=query, width=pixels.width, height=pixels.height, terms=terms), pixels


def _parsed(request: Read, body: Bytes) -> tuple[Asked, Terms | None]:
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
