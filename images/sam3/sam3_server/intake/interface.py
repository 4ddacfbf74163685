"""Reading requests, as the residency sees it; `pool.py` is the real one."""

from dataclasses import dataclass
from typing import Protocol

from sam3_server.intake.body import Body
from sam3_server.intake.protocol import ImageBatch, Route, Terms
from sam3_server.worker.protocol import Query
from sam3_server.worker.rgb_image import RgbImage


@dataclass(frozen=True)
class ParsedRequest:
    """What a request asks for; `terms` are for the answer of a route that is another server's."""

    image: RgbImage
    query: Query
    terms: Terms | None = None


class RequestReader(Protocol):
    """Reads requests. Clients are served in rotation."""

    async def read(self, route: Route, body: Body, client: str) -> ParsedRequest | ImageBatch:
        """Parse, validate and decode one request. Several images of one are not decoded; the body then has them.

        Raises:
            ServiceError: its subclasses say what is wrong with the request, or why it could not be read.

        """
        ...

    async def read_image(self, body: Body, batch: ImageBatch, place: int, client: str) -> ParsedRequest:
        """Decode one of several images of a request, by its place from 0.

        Raises:
            ServiceError: its subclasses say what is wrong with the image, or why it could not be read.

        """
        ...

    async def respond(self, terms: Terms, findings: bytes, client: str) -> bytes:
        """Return the answer of another server's route, in JSON.

        Raises:
            ServiceError: its subclasses say why it could not be written.

        """
        ...
