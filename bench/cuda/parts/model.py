"""The model that the other parts load: of full size with random weights on CUDA, else the tiny one."""

from collections.abc import Iterator

from bench.cuda.figures import Figure
from bench.cuda.stage import Stage
from bench.sam3.processes import make_full_size

MIB = 1 << 20


def measure(stage: Stage) -> Iterator[Figure]:
    """Write the model's folder."""
    if stage.kind == "cuda":
        make_full_size(stage.model, "float16")
    else:
        from sam3_server import tiny_model  # imports torch

        tiny_model.make(stage.model)
    written = sum(file.stat().st_size for file in stage.model.iterdir())
    yield Figure("model written", round(written / MIB, 1), "MiB")
