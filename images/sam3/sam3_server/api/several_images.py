"""The answer to a request with several images: one entry for each, its answer or its problem."""

import json
from collections.abc import Sequence
from http import HTTPStatus

from fastapi import FastAPI
from pydantic import BaseModel

from residency.api import problems, schemas
from sam3_server.intake.segment_schemas import SegmentResponse
from sam3_server.serving.segmentation import Outcome, Segmentation


class SeveralResponse(BaseModel):
    """One entry per image, in order: the answer to a request with this image alone, or its problem (with `status`)."""

    images: list[SegmentResponse | schemas.Problem]


def pieces(app: FastAPI, outcomes: Sequence[Outcome]) -> list[bytes]:
    """Return the answer in JSON, in pieces.

    Raises:
        ServiceError: no image was segmented, and one may be later (503): the refusal of the first such image.

    """
    entries: list[bytes] = []
    answered = any(isinstance(each, Segmentation) for each in outcomes)
    for each in outcomes:
        if isinstance(each, Segmentation):
            entries.append(each.found.findings)
            continue
        problem = problems.problem_for(app, each)
        if problem.status == HTTPStatus.SERVICE_UNAVAILABLE and not answered:
            raise each
        entries.append(json.dumps(problem.content).encode())
    separated = [piece for entry in entries for piece in (b",", entry)]
    return [b'{"images":[', *separated[1:], b"]}"]
