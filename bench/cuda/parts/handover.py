"""Whether a training gets its memory beside a loaded SAM3, and after an unload: what this project began with.

Asked twice: with a stand-in that allocates `training_mib`, and with the trainer, whose `batch: auto` fills them.
"""

import re
from collections.abc import Iterator

from bench.cuda.figures import Figure
from bench.cuda.stage import T4_FREE_MIB, Stage
from bench.sam3 import ballast
from demo.sam3 import photograph
from devcluster.programs.sam3 import Server
from devcluster.programs.trainer import Attempt

FENCE = 20_000
OUT_OF_MEMORY = "out of memory"
UNIT = "1 = yes"


def measure(stage: Stage) -> Iterator[Figure]:
    """Ask beside a plain loop, beside the loaded server, and after the hand-over."""
    mib = stage.sizes.training_mib
    with stage.server() as server:
        server.segment().raise_for_status()
        origin = ballast.ask(server, stage.model, photograph(), T4_FREE_MIB, mib)
        note = f"{mib} MiB are allocated"
        plain = f"{note}; the loop holds {origin.plain_mib} MiB"
        yield Figure(f"stand-in beside a plain loop: {OUT_OF_MEMORY}", not origin.beside_a_plain_loop, UNIT, plain)
        beside = f"stand-in beside the loaded server: {OUT_OF_MEMORY}"
        yield Figure(beside, not origin.beside_the_loaded_server, UNIT, note)
        yield Figure(f"stand-in after the hand-over: {OUT_OF_MEMORY}", not origin.after_the_unload, UNIT, note)
        yield from _train(stage, server)


def _train(stage: Stage, server: Server) -> Iterator[Figure]:
    mib = stage.sizes.training_mib
    server.segment().raise_for_status()
    beside = stage.train("beside", "auto", mib, "--no-preflight")
    yield _answer("training beside the loaded server", beside)
    server.unload(fence=FENCE, ttl_seconds=3600).raise_for_status()
    after = stage.train("after", "auto", mib)
    yield _answer("training after the hand-over", after)
    answered = server.load(fence=FENCE).is_success and server.segment().is_success
    yield Figure("the server answers after the training", answered, UNIT)


def _answer(what: str, attempt: Attempt) -> Figure:
    """Say whether an attempt ran out of memory: it ended so, or Ultralytics reduced its batch.

    Raises:
        RuntimeError: it ended otherwise, so it answers nothing.

    """
    code, report = attempt.ended()
    chosen = re.search(r"batch auto: (\d+) for", attempt.log)
    if code not in (0, ballast.OUT_OF_MEMORY) or chosen is None:
        raise RuntimeError(f"{what}: {report['reason']}: {report['message']}\n{attempt.log}")
    ran_out = code == ballast.OUT_OF_MEMORY or report["batch"] < int(chosen.group(1))
    note = f"{report['reason']}, batch {chosen.group(1)} chosen and {report['batch']} at the end"
    return Figure(f"{what}: {OUT_OF_MEMORY}", ran_out, UNIT, note)
