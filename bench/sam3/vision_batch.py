"""The vision backbone of a full-size SAM3 on several images in one pass, against a pass for each, on the CPU.

A process of its own, `python -m bench.sam3.vision_batch IMAGES THREADS`: one line of JSON, in seconds per image.
Weights and images are random. CPU seconds are those of all threads: other work on the machine changes them less than
the wall clock.
"""

import json
import sys
import time
from collections.abc import Callable

import torch
from transformers import Sam3Config
from transformers.models.sam3.modeling_sam3 import Sam3ViTModel

SIDE = 1008


def main() -> None:
    """Time both ways with as many images as the command line says, after a pass that warms up."""
    count, threads = (int(word) for word in sys.argv[1:3])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    backbone = Sam3ViTModel(Sam3Config().vision_config.backbone_config).eval()
    images = torch.randn(count, 3, SIDE, SIDE)
    _timed(lambda: backbone(images[:1]), 1)
    alone = _timed(lambda: [backbone(image[None]) for image in images], count)
    together = _timed(lambda: backbone(images), count)
    print(json.dumps({"images": count, "threads": threads, "alone": alone, "together": together}))


@torch.inference_mode()
def _timed(work: Callable[[], object], images: int) -> dict[str, float]:
    began, used = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    return {"wall": round(wall / images, 2), "cpu": round(cpu / images, 2)}


if __name__ == "__main__":
    main()
