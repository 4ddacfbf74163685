"""Fuzz a SAM3 server process with the tiny model: mutated images and requests over HTTP.

Prints how many answers of each status there were, how the server's memory grew, and the number of each mutant that was
not answered as it has to be. `--save` adds such images to the corpus, which `make test` sends from then on.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import gpu_memory
from devcluster.programs.sam3 import TOKEN, Server, resident_mib, tiny_model
from tests.fuzz import campaign, image_seeds, request_mutants
from tests.fuzz.campaign import Report
from tests.fuzz.http_client import Message
from tests.fuzz.image_mutants import mutant

SETTINGS = {"SAM3_MAX_IMAGE_PIXELS": "1000000", "SAM3_MAX_IMAGE_MIB": "1", "SAM3_LOG_LEVEL": "error"}
WARM_UP = 1000
PIECE = 5000
MOST_GROWTH_MIB = 48


def main() -> None:
    """Run the campaign that the command line asks for; exit with 1 where something was found."""
    options = _parser().parse_args()
    with ExitStack() as stack:
        server = _server(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sam3-fuzz-"))))
        stack.callback(server.end)
        found = _run(server, "images", range(options.first, options.first + options.images), image_message)
        if options.save:
            _save(found)
        requests = range(options.first, options.first + options.requests)
        failed = bool(_run(server, "requests", requests, request_mutants.message)) or bool(found)
        failed |= not server.segment().is_success
        failed |= server.metric("sam3_worker_deaths_total") > 0
    sys.exit(failed)


def image_message(number: int) -> Message:
    """Return a form with the mutant of this number."""
    return request_mutants.image_message(mutant(number))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--images", type=int, default=100_000, help="mutated images (default 100000)")
    parser.add_argument("--requests", type=int, default=20_000, help="mutated requests (default 20000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant; other numbers, other mutants")
    parser.add_argument("--save", action="store_true", help="add images that were found to tests/fuzz/corpus")
    return parser


def _server(folder: Path) -> Server:
    token_file = folder / "token"
    token_file.write_text(TOKEN)
    server = Server(gpu_memory.create_ledger(folder / "gpu"), tiny_model(), token_file, SETTINGS)
    assert server.segment().status_code == 200
    return server


def _run(server: Server, name: str, numbers: range, make: Callable[[int], Message]) -> list[int]:
    """Send all of them, piece by piece; return the numbers of findings."""
    asyncio.run(campaign.run(server.port, numbers[:WARM_UP], make))
    before, began = _held_mib(server), time.monotonic()
    report = Report()
    for start in range(0, len(numbers), PIECE):
        asyncio.run(campaign.run(server.port, numbers[start : start + PIECE], make, report))
        print(f"{name}: {report.statuses.total()} sent, {_held_mib(server)} MiB", file=sys.stderr, flush=True)
    grown = _held_mib(server) - before
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(report.statuses.items(), key=str))
    print(f"{name}: {report.statuses.total()} in {time.monotonic() - began:.0f} s; {statuses}; {grown:+} MiB")
    for number, complaint in report.findings.items():
        print(f"  {number}: {complaint}")
    if grown > MOST_GROWTH_MIB:
        print(f"  the server's memory grew by {grown} MiB; {MOST_GROWTH_MIB} MiB are expected at most")
    return list(report.findings) + [-1] * (grown > MOST_GROWTH_MIB)


def _held_mib(server: Server) -> int:
    """Return the host memory of the server and of the processes that read for it."""
    return server.resident_mib() + sum(resident_mib(reader) for reader in server.readers())


def _save(numbers: list[int]) -> None:
    for number in filter(lambda number: number >= 0, numbers):
        (image_seeds.CORPUS / f"mutant-{number}").write_bytes(mutant(number))


if __name__ == "__main__":
    main()
