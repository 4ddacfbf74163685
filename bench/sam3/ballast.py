"""Confines a larger CUDA card to a smaller one's memory, and asks the question that this project began with.

Does a training of `training_mib` get its memory beside a plain loop with the stock post-processing, beside this server,
and after an unload? All are real allocations on the device (on a simulated GPU, bookings), in processes of their own:
`python -m bench.sam3.ballast SECONDS MIB` takes memory, says so, and keeps it.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import gpu_memory
from devcluster.programs.sam3 import Server

FOREVER = 86_400
MIB = 1 << 20
OUT_OF_MEMORY = 12
CONTEXT_MIB = 500  # what the ballast's own CUDA context may take besides


@dataclass(frozen=True)
class Origin:
    """Whether a training got its memory, where the plain loop held `plain_mib`. Sizes in MiB."""

    card_mib: int
    training_mib: int
    plain_mib: int
    beside_a_plain_loop: bool
    beside_the_loaded_server: bool
    after_the_unload: bool


@contextmanager
def confined_to(card_mib: int) -> Iterator[None]:
    """Leave `card_mib` of the device free for the length of a `with` block.

    Raises:
        ValueError: the device has less than that free.

    """
    surplus = gpu_memory.read().free_mib - card_mib
    if surplus < 0:
        raise ValueError(f"the GPU has {surplus + card_mib} MiB free, so it cannot play a card of {card_mib} MiB")
    if surplus <= CONTEXT_MIB:
        yield
        return
    ballast = subprocess.Popen([*_command(FOREVER, surplus - CONTEXT_MIB)], stdout=subprocess.PIPE, text=True)
    try:
        assert ballast.stdout is not None
        if ballast.stdout.readline().strip() != "taken":
            raise ValueError("the ballast could not be taken; see its words above")
        yield
    finally:
        ballast.kill()
        ballast.wait()


def ask(server: Server, model: Path, photograph: Path, card_mib: int, training_mib: int) -> Origin:
    """Try the training beside a plain loop, beside the loaded server, and after the server has given the GPU up."""
    server.client.post("/api/v1/unload").raise_for_status()
    with _plain_loop(model, photograph) as plain_mib:
        beside_plain = _trains(training_mib)
    server.segment().raise_for_status()
    beside_server = _trains(training_mib)
    server.unload(fence=10_000, ttl_seconds=600).raise_for_status()
    after = _trains(training_mib)
    server.load(fence=10_000).raise_for_status()
    return Origin(card_mib, training_mib, plain_mib, beside_plain, beside_server, after)


@contextmanager
def _plain_loop(model: Path, photograph: Path) -> Iterator[int]:
    """Let a plain loop find every instance there can be, and keep what it then holds; yields that in MiB."""
    command = [sys.executable, "-m", "bench.sam3.plain", str(model), str(photograph), "1", "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as loop:
        assert loop.stdout is not None
        line = loop.stdout.readline()
        if not line:
            raise RuntimeError("the plain loop ended early; see its words above")
        yield int(json.loads(line)["reserved_mib"])
        loop.communicate()


def _trains(mib: int) -> bool:
    ended = subprocess.run(_command(1, mib), stdout=subprocess.DEVNULL, check=False)
    if ended.returncode not in (0, OUT_OF_MEMORY):
        raise RuntimeError(f"the stand-in for a training ended with exit code {ended.returncode}")
    return ended.returncode == 0


def _command(seconds: int, mib: int) -> list[str]:
    return [sys.executable, "-m", "bench.sam3.ballast", str(seconds), str(mib)]


def main() -> None:
    """Take memory and keep it, or end with the exit code that stands for out of memory."""
    seconds, mib = int(sys.argv[1]), int(sys.argv[2])
    with ExitStack() as kept:
        try:
            kept.enter_context(_taken(mib))
        except (MemoryError, RuntimeError) as error:
            import torch

            if not isinstance(error, MemoryError | torch.OutOfMemoryError):
                raise
            print(error, file=sys.stderr)
            sys.exit(OUT_OF_MEMORY)
        print("taken", flush=True)
        time.sleep(seconds)


@contextmanager
def _taken(mib: int) -> Iterator[None]:
    if gpu_memory.computes_on_host():
        with gpu_memory.open_device().reserve(mib):
            yield
        return
    import torch

    kept = torch.empty(mib * MIB, dtype=torch.uint8, device="cuda").fill_(1)
    torch.cuda.synchronize()
    yield
    del kept


if __name__ == "__main__":
    main()
