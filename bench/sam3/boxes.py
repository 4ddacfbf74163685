"""How far boxes and scores of another precision are from those of float32, on one photograph 4,000 px wide.

A process of its own, `python -m bench.sam3.boxes MODEL PHOTOGRAPH MEMORY_MIB DTYPE`: one line of JSON. Memory 0
computes on the CPU. There float16 takes hours with a full-size model, unless the CPU has arithmetic of its own for it.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sam3_server.worker.allowance import unlimited
from sam3_server.worker.instances import unpack
from sam3_server.worker.model import Sam3
from sam3_server.worker.protocol import Exemplar, Prompt, Query, Segment

WIDTH = 4000
EVERY = 1000  # more instances than the model has
BEST = 50  # of each prompt, by float32


def main() -> None:
    """Compare one precision with float32."""
    model, photograph, memory_mib, dtype = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    image = _large(photograph)
    boxes, scores = _ask(Sam3(model, dtype, memory_mib, 0), image)
    exact_boxes, exact_scores = _ask(Sam3(model, "float32", memory_mib, 0), image)
    best = np.argsort(-exact_scores, axis=1)[:, :BEST]
    off = np.take_along_axis(np.abs(boxes - exact_boxes).max(axis=2), best, axis=1)
    figures = {
        "dtype": dtype,
        "median_px": float(np.median(off)),
        "max_px": float(off.max()),
        "within_1_px": float((off < 1).mean()),
        "distinct_scores": len(np.unique(scores)) / scores.size,
        "score": float(np.abs(scores - exact_scores).max()),
    }
    print(json.dumps(figures))


def _large(photograph: Path) -> Image.Image:
    image = Image.open(photograph).convert("RGB")
    return image.resize((WIDTH, round(image.height * WIDTH / image.width)))


def _ask(sam3: Sam3, image: Image.Image) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return boxes of shape (prompts, instances, 4) in px, and scores of shape (prompts, instances)."""
    sam3.attach()
    example = Exemplar(box=(image.width * 0.21, image.height * 0.32, image.width * 0.27, image.height * 0.41))
    prompts = [Prompt(text="bus", threshold=0), Prompt(text="person", exemplars=[example], threshold=0)]
    query = Query(prompts=prompts, form="box", max_instances=EVERY)
    request = Segment(width=image.width, height=image.height, query=query, seconds=math.inf)
    _, found = unpack(sam3.segment(request, bytearray(image.tobytes()), unlimited()).findings)
    boxes = [[each.box for each in instances.found] for instances in found]
    return np.array(boxes), np.array([[each.score for each in instances.found] for instances in found])


if __name__ == "__main__":
    main()
