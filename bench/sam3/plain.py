"""The loop that people write without a server: plain transformers, one image after the other, stock post-processing.

A process of its own, `python -m bench.sam3.plain MODEL PHOTOGRAPH IMAGES THRESHOLD`: one line of JSON, times in seconds
and sizes in MiB. It then keeps its memory, as such a server does, until its standard input is closed.
"""

import json
import sys
import time
from pathlib import Path

import torch
from PIL import Image
from transformers import Sam3Model, Sam3Processor


def main() -> None:
    """Time the loop on the first CUDA device, else on the CPU."""
    folder, photograph, count, threshold = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    native = torch.bfloat16 if device == "cuda" and torch.cuda.is_bf16_supported(False) else torch.float16
    dtype = native if device == "cuda" else torch.float32
    began = time.perf_counter()
    processor = Sam3Processor.from_pretrained(folder)
    model = Sam3Model.from_pretrained(folder, dtype=dtype).eval().to(device)
    loaded = time.perf_counter() - began
    image = Image.open(photograph).convert("RGB")
    _segment(model, processor, image, threshold)
    began = time.perf_counter()
    for _ in range(count):
        _segment(model, processor, image, threshold)
    elapsed = time.perf_counter() - began
    reserved = int(torch.cuda.memory_reserved()) >> 20 if device == "cuda" else 0
    figures = {"load": loaded, "images_per_second": count / elapsed, "reserved_mib": reserved}
    print(json.dumps(figures), flush=True)
    sys.stdin.read()


@torch.inference_mode()
def _segment(model: Sam3Model, processor: Sam3Processor, image: Image.Image, threshold: float) -> None:
    inputs = processor(images=image, text="bus", return_tensors="pt").to(model.device)
    inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    outputs = model(**inputs)
    sizes = [(image.height, image.width)]
    processor.post_process_instance_segmentation(outputs, threshold=threshold, target_sizes=sizes)


if __name__ == "__main__":
    main()
