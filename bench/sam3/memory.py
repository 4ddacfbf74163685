"""What post-processing adds to a model's memory: the stock one, or the server's.

A process of its own, `python -m bench.sam3.memory stock|chunked WIDTH HEIGHT INSTANCES`: one line of JSON.
Sizes are MiB: on CUDA the allocator's peak, elsewhere the process's. Masks are 288 x 288, as the model
makes them, and every score passes.
"""

import json
import resource
import sys
from types import SimpleNamespace

import torch
from transformers import Sam3ImageProcessor

from sam3_server.worker import masks

SIDE = 288


def main() -> None:
    """Run one of the two on random masks."""
    way, width, height, count = sys.argv[1], *(int(word) for word in sys.argv[2:5])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    outputs = SimpleNamespace(
        pred_logits=torch.full((1, count), 5.0, device=device),
        presence_logits=torch.full((1, 1), 5.0, device=device),
        pred_boxes=torch.rand(1, count, 4, device=device).sort().values,
        pred_masks=_blobs(count).to(device),
    )
    processor = Sam3ImageProcessor()
    before = _peak_mib(device)
    if way == "stock":
        found = processor.post_process_instance_segmentation(outputs, threshold=0.5, target_sizes=[(height, width)])
        count_found = len(found[0]["masks"])
    else:
        count_found = len(masks.instances(outputs, 0.5, height, width, count, with_masks=True).boxes)
    print(json.dumps({"added_mib": _peak_mib(device) - before, "instances": count_found}))


def _blobs(count: int) -> torch.Tensor:
    """Smooth shapes, so that encoding them costs what real masks cost."""
    coarse = torch.randn(1, count, 9, 9)
    return torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear") * 5


def _peak_mib(device: str) -> int:
    if device == "cuda":
        return int(torch.cuda.max_memory_reserved()) >> 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    main()
