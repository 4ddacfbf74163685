"""The answers of the routes that are another server's. Slow where much was found: not for the event loop."""

from sam3_server.intake import anylabeling, roboflow, roboflow_visual
from sam3_server.intake.anylabeling import AnyLabelingTerms
from sam3_server.intake.protocol import Terms
from sam3_server.intake.roboflow import RoboflowTerms
from sam3_server.intake.roboflow_visual import EmbedTerms, VisualTerms


def respond(terms: Terms, findings: bytes) -> bytes:
    """Return what was found in the format of the other server, as JSON."""
    match terms:
        case RoboflowTerms():
            return roboflow.respond(terms, findings)
        case VisualTerms():
            return roboflow_visual.respond(findings)
        case EmbedTerms():
            return roboflow_visual.respond_embedded(terms, findings)
        case AnyLabelingTerms():
            return anylabeling.respond(terms, findings)
