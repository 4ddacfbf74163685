"""Reading requests, as the residency sees it; `pool.py` is the real one."""

from dataclasses import dataclass
from typing import Protocol

from sam3_server.intake.body import Body
from sam3_server.intake.protocol import Route
from sam3_server.intake.roboflow import Echo
from sam3_server.worker.protocol import Query
from sam3_server.worker.rgb_image import RgbImage


@dataclass(frozen=True)
class ParsedRequest:
    """What a request asks for; `echoes` are for the answer of the route that repeats its prompts."""

    image: RgbImage
    query: Query
    echoes: list[Echo] | None = None


class RequestReader(Protocol):
    """Reads requests. Clients are served in rotation."""

    async def read(self, route: Route, body: Body, client: str) -> ParsedRequest:
        """Parse, validate and decode one request.

        Raises:
            ServiceError: its subclasses say what is wrong with the request, or why it could not be read.

        """
        ...

    async def respond(self, echoes: list[Echo], findings: bytes, client: str) -> bytes:
        """Return the answer of Roboflow's route, in JSON, to prompts that it repeats.

        Raises:
            ServiceError: its subclasses say why it could not be written.

        """
        ...
