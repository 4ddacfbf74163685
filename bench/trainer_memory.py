"""Whether a training keeps within the GPU memory that it was granted, with the batch that it chooses for it.

    python -m bench.trainer_memory --memory 4096

Runs the trainer with `batch: auto` on this machine's GPU, and compares the peak that it reports with the grant and with
what it foresaw. On a machine without a GPU it shows the batches that would be chosen, trains on the CPU, and says what
it could not check.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

import gpu_memory
from demo.digits import make_digits
from devcluster.programs.trainer import Attempt

GRANTS = (2048, 4096, 8192, 14336)
MODELS = ("yolo26n.yaml", "yolo26s.yaml", "yolo26m.yaml")


def show_choices(image_size: int) -> None:
    """Print which batch is chosen for which grant."""
    from yolo_trainer.inputs.batch_size import SHARE, measure_need

    grants = " | ".join(f"{grant} MiB" for grant in GRANTS)
    print(f"| model at {image_size} pixels | MiB, and for each image | {grants} |")
    print("| --- | --- |" + " --- |" * len(GRANTS))
    for model in MODELS:
        need = measure_need(model, "detect", image_size, {})
        batches = " | ".join(str(need.largest_batch(grant * SHARE)) for grant in GRANTS)
        print(f"| {model} | {need.fixed:.0f} + {need.per_image:.0f} | {batches} |", flush=True)


def train(folder: Path, memory_mib: int, image_size: int, on_gpu: bool) -> None:
    """Train two epochs with `batch: auto`, and judge the peak. Exits with a sentence where it is too high."""
    make_digits(folder / "data", train=256 if on_gpu else 32, val=8, image_size=128)
    job = {
        "model": "yolo26n.yaml",
        "dataset": {"path": str(folder / "data")},
        "training": {"epochs": 2, "imageSize": image_size if on_gpu else 64, "batch": "auto", "args": {"plots": False}},
        "output": {"path": str(folder / "output")},
        "gpu": {"memoryMiB": memory_mib},
    }
    attempt = Attempt(folder / "attempt", job, TMPDIR=str(folder))
    attempt.process.wait()
    code, report = attempt.ended()
    if code != 0:
        sys.exit(f"the training ended with {report['reason']}: {report['message']}\n{attempt.log}")
    batch = re.search(r"batch (\d+), image size", attempt.log)
    print(f"trained with batch {batch.group(1) if batch else '?'}: {report['message']}")
    if not on_gpu:
        print("NOT CHECKED, for want of a GPU: the allocator's cap, the peak, and the batch chosen from free memory")
        return
    peak = report["peakMemoryMiB"]
    foreseen = re.search(r"which needs about (\d+) of", attempt.log)
    print(f"granted {memory_mib} MiB, foreseen {foreseen.group(1) if foreseen else '?'} MiB, peak {peak} MiB")
    if not 0 < peak <= memory_mib:
        sys.exit(f"the peak of {peak} MiB is not within the {memory_mib} MiB that were granted")


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.trainer_memory", description=__doc__.partition("\n")[0])
    parser.add_argument("--memory", type=int, default=4096, help="MiB that are granted (default %(default)s)")
    parser.add_argument("--image-size", type=int, default=640, help="pixels (default %(default)s)")
    options = parser.parse_args()
    try:
        seen = gpu_memory.read()
        print(f"{seen.name}: {seen.free_mib} of {seen.total_mib} MiB are free")
        on_gpu = gpu_memory.open_device().kind == "cuda"
    except gpu_memory.GpuUnavailable as error:
        print(f"no GPU: {error}")
        on_gpu = False
    show_choices(options.image_size)
    with tempfile.TemporaryDirectory() as temporary:
        train(Path(temporary), options.memory, options.image_size, on_gpu)


if __name__ == "__main__":
    main()
