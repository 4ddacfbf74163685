"""Measures the SAM3 server on this machine: on CUDA where there is a GPU, else on the CPU. `--help` says how.

Without `--model` it makes a full-size model with random weights first (840 M parameters: 20 s, 3.4 GB of disk).
"""

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gpu_memory
from bench.sam3 import abandoned, ballast, clicks, hostile, lifecycle, traffic
from bench.sam3.processes import child, make_full_size, start_server
from bench.sam3.report import Report
from demo.sam3 import photograph
from devcluster.programs.sam3 import TOKEN, Server, tiny_model

PARTS = ("lifecycle", "traffic", "clicks", "memory", "boxes", "origin", "hostile", "abandoned", "vision")
WITH_THE_MODEL = {"lifecycle", "traffic", "clicks", "boxes", "origin"}
SERVED = {"lifecycle", "traffic", "origin"}
T4_MIB = 15_360 - 450
IMAGE_SIZE = ("4000", "3000")
BATCH = "4"  # images in one pass of the vision backbone


def main() -> None:
    """Measure what the command line asks for."""
    options = _parser().parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sam3-bench-")))
        device = _device()
        if options.card_mib and device != "cpu":
            stack.enter_context(ballast.confined_to(options.card_mib))
        report = Report(device, options.model.name if options.model else "full size, random weights")
        model = _measure_model(folder, options, device, report)
        if "abandoned" in options.parts:
            _measure_abandoned(folder, options, device, report)
        if "memory" in options.parts:
            _measure_memory(report, options.instances)
        if "boxes" in options.parts:
            _measure_boxes(report, model, 0 if device == "cpu" else options.gpu_memory_mib, options.dtypes)
        if "hostile" in options.parts:
            _report_hostile(report, hostile.measure(folder, options.checkout))
        if "vision" in options.parts:
            _measure_vision(report, options.threads)
    report.show()
    if options.json:
        report.write(options.json)


def _measure_model(folder: Path, options: argparse.Namespace, device: str, report: Report) -> Path:
    """Measure what needs a server with the model, and return the model's folder."""
    parts, model = set(options.parts), options.model or folder / "model"
    if WITH_THE_MODEL & parts and not options.model:
        make_full_size(model, "float16" if device != "cpu" else "float32")
    if SERVED & parts:
        server = _server(folder, model, options, device)
        try:
            _measure_server(server, model, options, report)
        finally:
            server.end()
    if "clicks" in parts:
        _measure_clicks(_server(folder, model, options, device, cached_images=1), report)
    return Path(model)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.sam3", description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), metavar="PART", help=f"any of {', '.join(PARTS)}; all")
    parser.add_argument("--model", type=Path, help="folder of a model, as save_pretrained writes it")
    parser.add_argument("--rounds", type=int, default=3, help="loads, cold and from the standby each (default 3)")
    parser.add_argument(
        "--images",
        type=int,
        default=16,
        help="images at each number of clients, at least one for each client (default 16)",
    )
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 4, 16], help="clients at a time (1 4 16)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the worker on a CPU (default 2)")
    parser.add_argument("--log-level", default="warning", help="the server's, to follow a slow one (default warning)")
    parser.add_argument("--gpu-memory-mib", type=int, default=14_000, help="what the server may take (default 14000)")
    parser.add_argument("--training-mib", type=int, default=10_240, help="what a training needs (default 10240)")
    parser.add_argument(
        "--card-mib", type=int, help=f"leave only so much of a larger GPU free, such as {T4_MIB} for a T4"
    )
    parser.add_argument(
        "--instances", type=int, default=100, help="instances on a 12-megapixel photograph (default 100: stock 15 GB)"
    )
    parser.add_argument(
        "--dtypes",
        nargs="*",
        default=["float16", "bfloat16"],
        choices=["float16", "bfloat16"],
        help="what boxes compares with float32 (both; float16 is very slow on most CPUs)",
    )
    parser.add_argument("--checkout", type=Path, help="the part `hostile` attacks the server of this other checkout")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser


def _device() -> str:
    try:
        return gpu_memory.read().name
    except gpu_memory.GpuUnavailable:
        return "cpu"


def _server(folder: Path, model: Path, options: argparse.Namespace, device: str, cached_images: int = 0) -> Server:
    settings = {
        "SAM3_CACHED_IMAGES": str(cached_images),
        "SAM3_LOG_LEVEL": options.log_level,
        "OMP_NUM_THREADS": str(options.threads),
    }
    return start_server(folder, model, 0 if device == "cpu" else options.gpu_memory_mib, settings)


def _measure_server(server: Server, model: Path, options: argparse.Namespace, report: Report) -> None:
    image = photograph()
    found = lifecycle.ask(server, image)
    instances = sum(len(result["detections"]) for result in found["results"])
    size = f"{found['width']} x {found['height']}"
    report.add("a photograph is answered", f"{instances} instances at threshold 0", f"{image.name}, {size}")
    if "lifecycle" in options.parts:
        _report_lifecycle(report, lifecycle.measure(server, options.rounds))
    if "traffic" in options.parts:
        count = max(1, options.images // 4)
        plain = child("bench.sam3.plain", str(model), str(image), str(count), "0.5")
        rows = [
            traffic.measure(server.url, image, clients, max(options.images, clients)) for clients in options.clients
        ]
        report.keep("traffic", rows)
        report.figures["plain"] = plain
        for row in rows:
            speed = f"{row.images_per_second:.3f} images/s, median {row.median:.2f} s, p95 {row.p95:.2f} s"
            report.add(
                f"clients at a time: {row.clients}", speed, f"plain loop {plain['images_per_second']:.3f} images/s"
            )
    if "origin" in options.parts and report.device != "cpu":
        card_mib = options.card_mib or gpu_memory.read().total_mib
        origin = ballast.ask(server, model, image, card_mib, options.training_mib)
        report.keep("origin", origin)
        answers = {True: "gets its memory", False: "is out of memory"}
        training = f"a training of {origin.training_mib} MiB"
        plain_loop = f"beside a plain loop that holds {origin.plain_mib} MiB: {answers[origin.beside_a_plain_loop]}"
        report.add(f"{training}, after unload", answers[origin.after_the_unload], plain_loop)
        report.add(f"{training}, beside the loaded server", answers[origin.beside_the_loaded_server])


def _measure_clicks(server: Server, report: Report) -> None:
    try:
        seen = clicks.measure(server, photograph())
    finally:
        server.end()
    report.keep("clicks", seen)
    report.add("first click on an image", f"{seen.first:.3f} s", f"{photograph().name}, model loaded before")
    report.add("further click, with the image", f"{seen.again:.3f} s", f"{seen.first / seen.again:.0f} times faster")
    report.add("further click, by image_id", f"{seen.by_id:.3f} s", f"{seen.first / seen.by_id:.0f} times faster")


def _report_hostile(report: Report, seen: list[hostile.Suffered]) -> None:
    report.keep("hostile", seen)
    for each in seen:
        statuses = ", ".join(f"{count} x {status}" for status, count in each.statuses.items()) or "none waited for"
        report.add(
            f"/health is silent under: {each.attack}",
            f"{each.health:.0f} ms",
            f"nothing {each.nothing:.0f} ms; honest {each.honest:.1f} s ({each.honest_status}), grown "
            f"{each.grown_mib} MiB, answers {each.answer_bytes:,} B ({statuses})",
        )


def _measure_abandoned(folder: Path, options: argparse.Namespace, device: str, report: Report) -> None:
    """Measure with the default limits and the tiny model, without a GPU on a simulated one: it is about the server."""
    (folder / "token").write_text(TOKEN)
    settings = {
        "SAM3_GPU_MEMORY_MIB": str(options.gpu_memory_mib),
        "SAM3_MAX_PER_CLIENT": "16",  # all of these clients have one address
        "SAM3_LOG_LEVEL": options.log_level,
        "OMP_NUM_THREADS": str(options.threads),
    }
    ledger = gpu_memory.create_ledger(folder / "gpu") if device == "cpu" else None
    server = Server(ledger, tiny_model(), folder / "token", settings, lifecycle.PATIENCE)
    try:
        server.segment().raise_for_status()
        cases = abandoned.measure(server)
    finally:
        server.end()
    report.keep("abandoned", cases)
    for case in cases:
        silence = f"silence of /health {case.silence_ms:.0f} ms, of a server without work {case.idle_silence_ms:.0f} ms"
        report.add(f"{case.name}: {case.outcome}", f"{case.seconds:.1f} s", silence)


def _report_lifecycle(report: Report, seen: lifecycle.Lifecycle) -> None:
    report.keep("lifecycle", seen)
    report.add("load from the standby", f"{seen.standby_load:.3f} s", f"cold start {seen.cold_load:.2f} s")
    report.add("the standby is faster", f"{seen.times_faster:.0f} times")
    report.add("unload, until measured free", f"{seen.unload:.2f} s", f"{seen.freed_mib} MiB came back")
    report.add("until a standby is ready", f"{seen.standby_ready:.1f} s")


def _measure_memory(report: Report, count: int) -> None:
    chunked, stock = (child("bench.sam3.memory", way, *IMAGE_SIZE, str(count)) for way in ("chunked", "stock"))
    report.figures["memory"] = {"chunked": chunked, "stock": stock}
    what = f"post-processing {count} instances at {' x '.join(IMAGE_SIZE)} adds"
    report.add(what, _mib(chunked), f"stock {_mib(stock)}")


def _measure_boxes(report: Report, model: Path, memory_mib: int, dtypes: list[str]) -> None:
    rows = [child("bench.sam3.boxes", str(model), str(photograph()), str(memory_mib), dtype) for dtype in dtypes]
    report.figures["boxes"] = rows
    for row in filter(None, rows):
        off = f"median {row['median_px']:.2f} px, at most {row['max_px']:.1f} px"
        kept = f"{row['within_1_px']:.0%} within 1 px; scores within {row['score']:.1e}"
        report.add(f"boxes of {row['dtype']}, 4,000 px wide, against float32", off, kept)


def _measure_vision(report: Report, threads: int) -> None:
    figures = child("bench.sam3.vision_batch", BATCH, str(threads))
    report.figures["vision"] = figures
    if figures is None:
        return
    together, alone = (f"{figures[way]['cpu']:.1f} CPU s for each image" for way in ("together", "alone"))
    report.add(f"vision backbone, one pass for {BATCH} images, on the CPU", together, f"a pass for each: {alone}")


def _mib(figures: dict[str, Any] | None) -> str:
    return "killed for want of memory" if figures is None else f"{figures['added_mib']:,} MiB"


if __name__ == "__main__":
    main()
