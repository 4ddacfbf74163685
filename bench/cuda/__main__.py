"""Measures on a CUDA GPU what no CPU can show, offline, and compares it with rangespec.yaml.

The GPU needs as much free memory as a T4 has; of a larger one, the rest is allocated for the time of the run.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gpu_memory
from bench.cuda.parts import PARTS, WEIGHTS
from bench.cuda.ranges import beyond, read_ranges
from bench.cuda.report import show, write
from bench.cuda.runner import Outcome, State, command_of, run_parts
from bench.cuda.stage import FULL, T4_FREE_MIB, TINY, Stage
from bench.sam3 import ballast

MINUTES = 8.0


def main() -> None:
    """Measure, print the table, and exit with status 1 unless every part was measured and every figure is in range."""
    options = _parser().parse_args()
    deadline = time.monotonic() + options.minutes * 60
    with tempfile.TemporaryDirectory(prefix="cuda-bench-") as folder, _stage(Path(folder), options.rehearse) as stage:
        device = _gpu_name(stage)
        outcomes = list(_outcomes(stage, options.parts, deadline))
    figures = [figure for outcome in outcomes for figure in outcome.figures]
    wrong = beyond(read_ranges(), figures, stage.kind)
    show(device, outcomes, wrong)
    if options.out:
        write(options.out, device, stage.kind, outcomes, wrong)
    incomplete = [outcome.part for outcome in outcomes if outcome.state != State.MEASURED]
    sys.exit(1 if wrong or incomplete else 0)


def _outcomes(stage: Stage, parts: list[str], deadline: float) -> Iterator[Outcome]:
    stage_file = stage.folder / "stage.json"
    stage.write(stage_file)
    chosen = {part: weight for part, weight in WEIGHTS.items() if part == "model" or part in parts or not parts}
    for outcome in run_parts(chosen, stage, command_of(stage_file), deadline):
        print(f"{outcome.part}: {outcome.state}, {outcome.seconds:.0f} s", file=sys.stderr, flush=True)
        yield outcome


@contextmanager
def _stage(folder: Path, rehearse: bool) -> Iterator[Stage]:
    """Prepare the device."""
    model = folder / "model"
    if rehearse:
        yield Stage("simulated", folder, model, TINY, gpu_memory.create_ledger(folder / "gpu").path)
        return
    _require_cuda()
    try:
        with ballast.confined_to(T4_FREE_MIB):
            yield Stage("cuda", folder, model, FULL)
    except ValueError as error:
        sys.exit(str(error))


def _require_cuda() -> None:
    """Exit with a sentence unless PyTorch can use a CUDA device."""
    reason = "GPU_RELAY_SIMULATED_GPU is set" if gpu_memory.computes_on_host() else _missing()
    if reason:
        sys.exit(f"no CUDA device: {reason}; use --rehearse to run the same parts on a simulated GPU")


def _missing() -> str | None:
    try:
        kind = gpu_memory.open_device().kind
    except gpu_memory.GpuUnavailable as error:
        return str(error)
    return None if kind == "cuda" else "PyTorch finds none"


def _gpu_name(stage: Stage) -> str:
    """Return the device's name, for the report."""
    return f"simulated {stage.ledger.name}" if stage.ledger else gpu_memory.read().name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.cuda", description=__doc__)
    names = ", ".join(PARTS)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=f"any of {names}; default: all")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="time for all parts (default %(default)s)")
    parser.add_argument("--rehearse", action="store_true", help="run with the tiny model on a simulated GPU")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the figures to this file, as JSON")
    return parser


if __name__ == "__main__":
    main()
