"""Images per second of the server at several numbers of clients, against a plain loop. Nothing is compiled."""

from collections.abc import Iterator

from bench.cuda.figures import Figure
from bench.cuda.stage import Stage
from bench.sam3 import lifecycle, traffic
from bench.sam3.processes import child
from demo.sam3 import photograph

CLIENTS = (1, 4, 16)
THRESHOLD = "0.5"


def measure(stage: Stage) -> Iterator[Figure]:
    """Measure the plain loop first, alone on the GPU, and then the server."""
    image, requests = photograph(), stage.sizes.requests
    plain = child("bench.sam3.plain", str(stage.model), str(image), str(requests), THRESHOLD)
    if plain is None:
        raise RuntimeError("the plain loop ended with an error; see its output above")
    alone = plain["images_per_second"]
    yield Figure("plain loop", alone, "images/s", image.name)
    with stage.server() as server:
        lifecycle.ask(server, image)
        for clients in CLIENTS:
            row = traffic.measure(server.url, image, clients, max(requests, clients))
            note = f"median {row.median:.3f} s, 95th percentile {row.p95:.3f} s"
            yield Figure(f"server, clients at a time: {clients}", row.images_per_second, "images/s", note)
            yield Figure(f"server against the plain loop, clients: {clients}", row.images_per_second / alone, "times")
