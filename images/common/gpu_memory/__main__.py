"""`python -m gpu_memory`: what the GPU holds, and simulated GPUs for machines without one."""

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence

from gpu_memory.nvml import GpuMemory, GpuUnavailable, read
from gpu_memory.simulated import create_ledger


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 1 with a sentence on standard error."""
    options = _parser().parse_args(arguments)
    try:
        print(_create(options) if options.command == "create-ledger" else _report(options))
    except (GpuUnavailable, ValueError, OSError, subprocess.CalledProcessError) as error:
        print(f"gpu_memory: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gpu_memory", description="Print what the GPU holds (MiB).")
    parser.add_argument("--index", type=int, default=0, help="which GPU, as CUDA would number it (default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    commands = parser.add_subparsers(dest="command", metavar="create-ledger")
    create = commands.add_parser(
        "create-ledger",
        help="make a simulated GPU",
        description="Make the folder of a simulated GPU; needs a C compiler.",
    )
    create.add_argument("path", metavar="PATH", help="the folder; made if missing, renewed (bookings kept) if not")
    create.add_argument("--uuid", help="its UUID (default: the one it has, or a random one)")
    create.add_argument("--name", default="Tesla T4", help="its product name (default: %(default)s)")
    create.add_argument("--total-mib", type=int, default=15360, help="its memory in MiB (default: %(default)s)")
    create.add_argument(
        "--reserved-mib", type=int, default=450, help="the driver's share in MiB (default: %(default)s)"
    )
    return parser


def _create(options: argparse.Namespace) -> str:
    ledger = create_ledger(options.path, options.uuid, options.name, options.total_mib, options.reserved_mib)
    return "\n".join(f"export {key}={value}" for key, value in ledger.environment.items())


def _report(options: argparse.Namespace) -> str:
    memory = read(options.index)
    return json.dumps(dataclasses.asdict(memory)) if options.json else _table(memory)


def _table(memory: GpuMemory) -> str:
    rows = {
        "total": memory.total_mib,
        "reserved": memory.reserved_mib,
        "used": memory.used_mib,
        "free": memory.free_mib,
    }
    return "\n".join([f"{memory.name}  {memory.uuid}", *(f"{name:>10} {mib:>7,} MiB" for name, mib in rows.items())])


if __name__ == "__main__":
    sys.exit(main())
