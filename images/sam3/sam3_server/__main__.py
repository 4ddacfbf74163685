"""The command `sam3-server`."""

import argparse
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from fastapi import FastAPI
from pydantic import ValidationError

import gpu_memory
from residency import logs
from residency.api.auth import Control
from residency.api.server import NoClusterError, control_of, server_of
from residency.coordinator import Coordinator
from residency.settings import describe, explain, policy_of
from sam3_server.api.access import Access
from sam3_server.api.app import create_app
from sam3_server.api.body_receiver import BodyReceiver
from sam3_server.intake import protocol as intake
from sam3_server.intake.pool import IntakePool
from sam3_server.serving.cpu_fallback import CpuFallback
from sam3_server.serving.host_memory import HostBudget
from sam3_server.serving.metrics import Metrics
from sam3_server.serving.segmentation import SegmentationService
from sam3_server.serving.standby import StandbyManager
from sam3_server.serving.worker_pool import WorkerPool, WorkerTimeouts
from sam3_server.settings import Settings
from sam3_server.worker.bounds import MEGAPIXEL
from sam3_server.worker.encoder_client import EncoderClient
from sam3_server.worker.interface import Launch, Worker
from sam3_server.worker.process import WorkerProcess
from sam3_server.worker.protocol import Setup
from sam3_server.worker.spawn import StartWorker, spawn_worker
from sam3_server.worker.zygote_client import ZygoteClient

EXIT_CONFIG = 2
MIB = 1 << 20
BASE64_GROWTH = 1.4  # four characters for three bytes, and occasional line breaks
READER_MIB = 256  # what an intake process takes before it reads anything, with a margin
READER_BYTES_PER_PIXEL = 24  # RGBA on a background, and their copies
READER_COPIES = 6  # of a body: as a file, as text, decoded


def main() -> None:
    """Serve, or make the tiny model."""
    arguments = _parser().parse_args()
    if arguments.command == "make-tiny-model":
        _make_tiny_model(arguments.folder)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again once it has shut down in order
        _serve(_settings())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sam3-server",
        description="SAM3 inference that gives its GPU up when asked, and stays up meanwhile.",
        epilog=f"environment of serve:\n{describe(Settings)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="serve until SIGTERM (the default)")
    tiny = commands.add_parser(
        "make-tiny-model", help="write a tiny model with random weights; its masks are meaningless"
    )
    tiny.add_argument("folder", type=Path, help="folder to write it to")
    return parser


def _make_tiny_model(folder: Path) -> None:
    from sam3_server import tiny_model  # imports torch, which the server itself never does

    parameters = tiny_model.make(folder)
    print(
        f"{folder}: SAM3 with {parameters:,} random parameters. It runs like the real one; its masks are meaningless."
    )


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        _exit_with(explain(Settings, error))


def _serve(settings: Settings) -> None:
    logs.capture_native_output()
    logs.configure("server", settings.log_level)
    try:
        control = control_of(settings)
    except NoClusterError as error:
        _exit_with([str(error)])
    server_of(build_app(settings, control), settings).run()


def build_app(settings: Settings, control: Control) -> FastAPI:
    """Build the server from its settings."""
    metrics = Metrics()
    timeouts = WorkerTimeouts(
        load=settings.load_timeout,
        request=settings.request_timeout,
        grace=settings.kill_grace,
    )
    policy = policy_of(settings, waits=settings.while_held == "wait")
    zygote = ZygoteClient(settings.log_level, settings.load_timeout) if settings.standby else None
    start = zygote.start_worker if zygote else spawn_worker
    encoder = EncoderClient(settings.log_level)
    launcher = partial(_launcher, settings, start, encoder, metrics)
    fallback = None
    if settings.while_held == "cpu":
        slow = WorkerTimeouts(
            load=settings.cpu_load_timeout, request=settings.cpu_request_timeout, grace=settings.kill_grace
        )
        fallback = CpuFallback(launcher(memory_mib=0, dtype="float32"), slow, settings.max_in_flight)
    launch = launcher(memory_mib=settings.gpu_memory_mib, dtype=settings.dtype)
    max_bytes = int((settings.max_image_mib * BASE64_GROWTH + 1) * MIB)
    readers = IntakePool(_intake(settings, max_bytes))
    pool = WorkerPool(launch, timeouts)
    metrics.watch_standby(pool)
    host = HostBudget.of(settings.model, settings.host_reserve_mib, _in_float32(settings))
    standby = StandbyManager(pool, settings.standby, fallback, host)
    coordinator = Coordinator(policy, pool, standby, gpu_memory.read, metrics)
    segmentation = SegmentationService(coordinator, pool, fallback, readers, metrics)
    bodies = BodyReceiver(max_bytes, settings.transfer_timeout)
    access = Access(settings.inference_token_file, settings.cors_origins)
    helpers = (readers, encoder) if zygote is None else (readers, encoder, zygote)
    seconds = settings.transfer_timeout
    return create_app(coordinator, segmentation, control, metrics, bodies, seconds, *helpers, access=access)


def _intake(settings: Settings, max_bytes: int) -> intake.Setup:
    limits = intake.RequestLimits(
        image_mib=settings.max_image_mib,
        pixels=settings.max_image_pixels,
        prompts=settings.max_prompts,
        instances=settings.max_instances,
        mask_pixels=settings.max_mask_megapixels * MEGAPIXEL,
    )
    most = settings.max_image_pixels * READER_BYTES_PER_PIXEL + max_bytes * READER_COPIES
    return intake.Setup(
        limits=limits,
        cpu_seconds=settings.decode_timeout,
        memory_mib=READER_MIB + most // MIB,
        log_level=settings.log_level,
    )


def _in_float32(settings: Settings) -> bool:
    """Whether a worker may have its weights in float32."""
    on_host = not settings.gpu_memory_mib or gpu_memory.computes_on_host() or settings.while_held == "cpu"
    return settings.dtype == "float32" or on_host


def _launcher(
    settings: Settings, start: StartWorker, encoder: EncoderClient, metrics: Metrics, memory_mib: int, dtype: str
) -> Launch:
    setup = Setup(
        model=settings.model,
        dtype=dtype,
        memory_mib=memory_mib,
        cached_images=settings.cached_images,
        log_level=settings.log_level,
    )

    async def launch(on_exit: Callable[[Worker], None]) -> Worker:
        worker = await WorkerProcess.start(setup, start, encoder, on_exit)
        worker.on_prompts = metrics.prompts.inc
        return worker

    return launch


def _exit_with(sentences: list[str]) -> NoReturn:
    for sentence in sentences:
        print(f"sam3-server: {sentence}", file=sys.stderr)
    sys.exit(EXIT_CONFIG)


if __name__ == "__main__":
    main()
