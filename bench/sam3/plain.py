"""The loop that people write without a server: plain transformers, one image after the other, stock post-processing.

A process of its own, `python -m bench.sam3.plain MODEL PHOTOGRAPH IMAGES`: one line of JSON, times in seconds.
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
    folder, photograph, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    native = torch.bfloat16 if device == "cuda" and torch.cuda.is_bf16_supported(False) else torch.float16
    dtype = native if device == "cuda" else torch.float32
    began = time.perf_counter()
    processor = Sam3Processor.from_pretrained(folder)
    model = Sam3Model.from_pretrained(folder, dtype=dtype).eval().to(device)
    loaded = time.perf_counter() - began
    image = Image.open(photograph).convert("RGB")
    _segment(model, processor, image, dtype)
    began = time.perf_counter()
    for _ in range(count):
        _segment(model, processor, image, dtype)
    elapsed = time.perf_counter() - began
    print(json.dumps({"load": loaded, "images_per_second": count / elapsed, "seconds": elapsed / count}))


@torch.inference_mode()
def _segment(model: Sam3Model, processor: Sam3Processor, image: Image.Image, dtype: torch.dtype) -> None:
    inputs = processor(images=image, text="bus", return_tensors="pt").to(model.device)
    inputs["pixel_values"] = inputs["pixel_values"].to(dtype)
    outputs = model(**inputs)
    sizes = [(image.height, image.width)]
    processor.post_process_instance_segmentation(outputs, threshold=0.5, target_sizes=sizes)


if __name__ == "__main__":
    main()
