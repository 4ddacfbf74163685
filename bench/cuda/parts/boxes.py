"""Boxes and scores of half precision against float32, on one photograph."""

from collections.abc import Iterator

from bench.cuda.figures import Figure
from bench.cuda.stage import Stage
from bench.sam3.processes import child
from demo.sam3 import photograph

DTYPES = ("float16", "bfloat16")


def measure(stage: Stage) -> Iterator[Figure]:
    """Compare each precision with float32."""
    for dtype in DTYPES:
        words = (str(stage.model), str(photograph()), str(stage.sizes.server_mib), dtype)
        row = child("bench.sam3.boxes", *words)
        if row is None:
            raise RuntimeError(f"the comparison of {dtype} ended with an error; see its output above")
        yield Figure(f"boxes of {dtype}, median", row["median_px"], "px", "4,000 px wide, against float32")
        yield Figure(f"boxes of {dtype}, at most", row["max_px"], "px")
        yield Figure(f"boxes of {dtype} within 1 px", row["within_1_px"], "share")
        yield Figure(f"scores of {dtype} differ by", row["score"], "score", "from 0 to 1")
