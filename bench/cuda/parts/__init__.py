"""The parts of a run. Each module has `measure`, which yields a part's figures as it has them."""

from collections.abc import Callable, Iterator

from bench.cuda.figures import Figure
from bench.cuda.parts import boxes, handover, image_memory, model, standby, throughput, trainer
from bench.cuda.stage import Stage

Measure = Callable[[Stage], Iterator[Figure]]

PARTS: dict[str, Measure] = {
    "model": model.measure,
    "handover": handover.measure,
    "standby": standby.measure,
    "trainer": trainer.measure,
    "boxes": boxes.measure,
    "image-memory": image_memory.measure,
    "throughput": throughput.measure,
}
"""In the order in which they run. The model comes first: most of the others read it."""

WEIGHTS = {
    "model": 2,
    "handover": 4,
    "standby": 2,
    "trainer": 3,
    "boxes": 2,
    "image-memory": 1,
    "throughput": 3,
}
"""How much of the time each part gets, in relation to the others. Estimates: no CUDA run has measured them yet."""
