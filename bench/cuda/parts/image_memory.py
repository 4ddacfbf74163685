"""Memory of an image's post-processing, chunked as the server does it and as the stock processor does it."""

from collections.abc import Iterator

from bench.cuda.figures import Figure
from bench.cuda.stage import Stage
from bench.sam3.processes import child

WAYS = ("chunked", "stock")


def measure(stage: Stage) -> Iterator[Figure]:
    """Measure each way; the stock processor may run out of memory, which is a result."""
    width, height = stage.sizes.photograph
    words = (str(width), str(height), str(stage.sizes.instances))
    note = f"{width} x {height}, {stage.sizes.instances} instances"
    for way in WAYS:
        figures = child("bench.sam3.memory", way, *words)
        if figures is not None:
            yield Figure(f"post-processing of an image, {way}, adds", figures["added_mib"], "MiB", note)
        elif way == "stock":
            yield Figure(f"post-processing of an image, {way}: out of memory", 1, "1 = yes", note)
        else:
            raise RuntimeError(f"the {way} post-processing of {note} ended with an error; see its output above")
