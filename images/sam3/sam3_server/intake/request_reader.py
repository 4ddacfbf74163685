"""Read a whole request: from its body to the query and the pixels. Pure."""

from residency.field_errors import field_error
from sam3_server.errors import ImageTooLargeError
from sam3_server.intake import anylabeling, body_parser, exemplars, image_decoder, roboflow
from sam3_server.intake.anylabeling import PredictRequest
from sam3_server.intake.protocol import ParsedQuery, Read, RequestLimits, Terms
from sam3_server.intake.roboflow import ConceptRequest
from sam3_server.intake.segment_schemas import SegmentOptions
from sam3_server.memory_files import Bytes
from sam3_server.worker.bounds import bounded
from sam3_server.worker.protocol import Query
from sam3_server.worker.rgb_image import RgbImage


def read(request: Read, body: Bytes, limits: RequestLimits) -> tuple[ParsedQuery, RgbImage]:
    """Return what a request asks for, and its pixels.

    Raises:
        ServiceError: its subclasses say what is wrong with the request.

    """
    image, options, terms = _parsed(request, body)
    if len(image) > limits.image_mib << 20:
        raise ImageTooLargeError(f"the image has more than {limits.image_mib} MiB; send a smaller one")
    query = _query(options, limits)
    pixels = image_decoder.decode(image, limits.pixels)
    query = exemplars.on_image(query, pixels.width, pixels.height)
    query = bounded(query, pixels.width, pixels.height, limits.mask_pixels)
    return ParsedQuery(query=query, width=pixels.width, height=pixels.height, terms=terms), pixels


def _parsed(request: Read, body: Bytes) -> tuple[bytes, SegmentOptions, Terms | None]:
    match request.route:
        case "segment":
            return *body_parser.read(request.content_type, body), None
        case "concept":
            concept = body_parser.read_json(body, ConceptRequest)
            return concept.image(concept.model.image.value), concept.model.options(), roboflow.terms(concept.model)
        case "anylabeling":
            predict = body_parser.read_json(body, PredictRequest)
            return predict.image(predict.model.image), predict.model.options(), anylabeling.terms(predict.model)


def _query(options: SegmentOptions, limits: RequestLimits) -> Query:
    if len(options.prompts) > limits.prompts:
        raise field_error("prompts", f"{len(options.prompts)} prompts were sent, {limits.prompts} are allowed")
    if options.max_instances is not None and options.max_instances > limits.instances:
        raise field_error("max_instances", f"{limits.instances} instances are allowed for each prompt")
    return options.query(limits.instances)
