"""Reading requests, away from the event loop: parsing, validating and decoding cost as much as a client likes.

    server                                   intake process (`sam3-intake`; some, started with the server)
    pool.py     ── Read, body's file ──────► reading.py: JSON or form, options, limits, pixels
                ◄── Done, file ───────────── the query, and the pixels as they go to the worker
                ── Respond, file ──────────► an answer in another route's terms
    process.py  ── its time is over ───────► ended by the kernel, replaced; the request gets a 4xx

Bodies, pixels and answers travel as descriptors of files in memory, so the event loop copies none of them.
`Intake` is what the service relies on; `pool.py` is the real one.
"""

from dataclasses import dataclass
from typing import Protocol

from sam3_server.api.body_receiver import Body
from sam3_server.intake.image_decoder import RgbImage
from sam3_server.intake.protocol import Route
from sam3_server.intake.roboflow import Echo
from sam3_server.worker.protocol import Query


@dataclass(frozen=True)
class Asked:
    """What a request asks for; `echoes` are for the answer of the route that repeats its prompts."""

    image: RgbImage
    query: Query
    echoes: list[Echo] | None = None


class Intake(Protocol):
    """Reads requests. Calls wait for their turn, which clients have in rotation."""

    async def read(self, route: Route, body: Body, client: str) -> Asked:
        """Parse, validate and decode one request.

        Raises:
            ServiceError: its subclasses say what is wrong with the request, or what stood in the way.

        """
        ...

    async def respond(self, echoes: list[Echo], findings: bytes, client: str) -> bytes:
        """Return the answer of Roboflow's route, in JSON, to prompts that it repeats.

        Raises:
            ServiceError: its subclasses say what stood in the way.

        """
        ...
