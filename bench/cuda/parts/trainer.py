"""The trainer's memory: its cap, what an attempt that runs out of memory reports, the next batch, and `batch: auto`."""

import re
from collections.abc import Iterator
from typing import Any

from bench.cuda.figures import Figure
from bench.cuda.stage import Stage
from bench.sam3.ballast import OUT_OF_MEMORY
from devcluster.programs.trainer import Attempt


def measure(stage: Stage) -> Iterator[Figure]:
    """Train one job with `batch: auto`, and one with a batch that is too large for its grant."""
    yield from _auto(stage)
    yield from _too_large(stage)


def _auto(stage: Stage) -> Iterator[Figure]:
    grant = stage.sizes.grant_mib
    report = _completed(stage.train("auto", "auto", grant))
    note = f"batch {report['batch']}, {grant} MiB granted, peak {report['peakMemoryMiB']} MiB"
    yield Figure("batch auto: peak against the grant", report["peakMemoryMiB"] / grant, "share", note)


def _too_large(stage: Stage) -> Iterator[Figure]:
    """On CUDA, the cap stops an attempt that is too large; a simulated GPU counts no tensors, so it is full instead."""
    grant, batch = stage.sizes.grant_mib, stage.sizes.too_large_batch
    if stage.ledger is None:
        first = stage.train("capped", batch, grant)
    else:
        with stage.ledger.book(stage.ledger.free_mib - grant + 1):
            first = stage.train("capped", batch, grant, "--no-preflight")
    code, report = first.ended()
    yield Figure("exit code of an attempt beyond its cap", code, "code", f"{report['reason']}: {report['message']}")
    if code != OUT_OF_MEMORY:
        raise RuntimeError(f"no out-of-memory error, so there is no next batch:\n{first.log}")
    yield Figure("cap: peak against the grant", report["peakMemoryMiB"] / grant, "share")
    second = stage.train("capped", batch, grant)
    _completed(second)
    reduced = re.search(r"batch (\d+) instead of", second.log)
    if reduced is None:
        raise RuntimeError(f"the next attempt did not reduce its batch:\n{second.log}")
    ratio = int(reduced.group(1)) / report["batch"]
    note = f"{reduced.group(1)} after {report['batch']}"
    yield Figure("next batch against the one that failed", ratio, "share", note)


def _completed(attempt: Attempt) -> dict[str, Any]:
    code, report = attempt.ended()
    if code:
        raise RuntimeError(f"the training ended with {report['reason']}: {report['message']}\n{attempt.log}")
    return report
