"""`python -m demo`: GPU Relay on a local Kubernetes, shown as a timeline."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from demo import failure, manifest, outputs, story
from demo.console import Timeline
from demo.interruption import interruptible, uninterrupted
from demo.memory import MemoryRecorder, plot
from demo.recipe import DEMO
from demo.sam3 import Sam3, Sam3Error, photograph
from demo.stage import Stage, opened
from devcluster import ClusterError
from devcluster.deploy import resident_address

_DESCRIPTION = """\
Starts a cluster, deploys operator and SAM3 as pods, applies a YoloTrainingJob that does not fit beside the loaded SAM3,
and checks after each step who owns the GPU, and that the SAM3 server answers throughout. Then runs the same training
without GPU Relay, which must run out of memory. Removes everything at the end. Exit code: 0 if all checks passed, else
1 (130 after Ctrl-C).
"""
_ENVIRONMENT = """\
environment:
  KEEP=1               keep the cluster, and print how to use and how to end it
  NODE                 auto (default): a kubelet where one can run, else processes; or process, kubelet, existing
  KUBECONFIG           with NODE=existing: the cluster to use; the demo installs GPU Relay there and removes it again
  GPU_RELAY_LEDGER     with NODE=existing: folder of its node's simulated GPU, at the same path on this machine
  GPU_RELAY_CACHE      where binaries and images are kept (default: $XDG_CACHE_HOME/gpu-relay or ~/.cache/gpu-relay)
  NO_COLOR=1           no colours
"""
_FAILURES = (story.StepFailedError, Sam3Error, ClusterError, httpx.HTTPError, AssertionError)


class Settings(BaseSettings):
    """Settings from the environment."""

    model_config = SettingsConfigDict(env_ignore_empty=True)

    keep: bool = Field(default=False, validation_alias="KEEP")
    """Leave the cluster running at the end, passed or failed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description=_DESCRIPTION,
        epilog=_ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("demo-output"),
        metavar="FOLDER",
        help="where results go (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        keep = Settings().keep
    except ValidationError as error:
        parser.error(f"KEEP={error.errors()[0]['input']} is neither yes nor no: write KEEP=1")
    return run(options.output, keep=keep)


def run(output: Path, *, keep: bool) -> int:
    """Run the demo and leave its results in `output`; returns the exit code."""
    timeline = Timeline()
    interruptible()
    try:
        outputs.prepare(output)
    except (ClusterError, OSError) as error:
        timeline.failed(str(error))
        return 1
    try:
        passed = _play(timeline, output, keep=keep)
    except (*_FAILURES, OSError) as error:
        timeline.failed(str(error))
        passed = False
    except KeyboardInterrupt:
        timeline.failed("Interrupted; everything has been removed")
        (output / outputs.TIMELINE).write_text(timeline.text)
        return 130
    timeline.gap()
    (timeline.ok if passed else timeline.failed)("All checks passed" if passed else "The demo has failed")
    timeline.note(f"{output}/ has {outputs.contents(output)}", "end")
    (output / outputs.TIMELINE).write_text(timeline.text)
    return 0 if passed else 1


def _play(timeline: Timeline, output: Path, *, keep: bool) -> bool:
    timeline.headline(
        "GPU Relay: SAM3 and YOLO training share one GPU",
        "A simulated Tesla T4 with 15,360 MiB. SAM3 takes 14,000 MiB, the training job needs 10,240: only one fits.",
        "Takes about 2 minutes once everything is built; each build prints its cost first.",
        "",
    )
    with timeline.showing(logging.getLogger("cluster")), opened(timeline, keep=keep) as stage:
        try:
            passed = _run_scenes(stage, timeline, output)
        except KeyboardInterrupt:
            timeline.failed("Interrupted: removing everything (about 10 s)")
            raise
        uninterrupted()
        timeline.step("end", "Keeping the cluster" if keep else "Removing everything (about 10 s)")
        if keep:
            for sentence in stage.keep():
                timeline.note(sentence, "keep")
    if not keep:
        timeline.ok("Everything has been removed")
    return passed


def _run_scenes(stage: Stage, timeline: Timeline, output: Path) -> bool:
    """Run all scenes and collect their results; return False when a step failed."""
    try:
        stage.deploy(DEMO)
        sam3 = Sam3(resident_address(stage.kubectl))
        with MemoryRecorder(lambda: sam3.gpu().used) as memory:
            story.run(story.Scene(stage.kubectl, sam3, timeline, photograph(), output, DEMO, memory.mark))
        drawn = plot(memory.readings, sam3.gpu().total, story.SAM3_MIB, manifest.MEMORY_MIB, memory.moments)
        (output / outputs.MEMORY).write_text(drawn)
    except _FAILURES as error:
        timeline.failed(str(error))
        failure.report(stage.kubectl, timeline, output)
        return False
    outputs.collect(stage.results, output)
    description = stage.kubectl("-n", manifest.NAMESPACE, "describe", "ytj", manifest.NAME)
    (output / outputs.DESCRIPTION).write_text(description)
    timeline.step("results", f"kubectl -n {manifest.NAMESPACE} describe ytj {manifest.NAME}")
    timeline.block(description)
    return True


if __name__ == "__main__":
    sys.exit(main())
