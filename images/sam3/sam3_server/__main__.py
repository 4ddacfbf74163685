"""The command `sam3-server`."""

import argparse
import signal
import sys
from pathlib import Path
from typing import NoReturn

import kubernetes
import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

import gpu_memory
from sam3_server import logs
from sam3_server.app import create_app
from sam3_server.auth import Control, OpenControl, TokenFile, TokenReviews, authentication_api
from sam3_server.fallback import CpuFallback
from sam3_server.host_memory import HostBudget
from sam3_server.inference import RequestLimits
from sam3_server.metrics import Metrics
from sam3_server.service import Policy, Service
from sam3_server.settings import Settings, describe, explain
from sam3_server.worker import Launch
from sam3_server.worker.forking import Template
from sam3_server.worker.process import WorkerProcess
from sam3_server.worker.protocol import Setup
from sam3_server.worker.starting import Start, start_afresh
from sam3_server.workers import Limits

EXIT_CONFIG = 2
SWITCH_SECONDS = 0.001  # threads that decode let the event loop go on sooner than by default


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
        description="SAM3 inference that gives its GPU up when asked, and answers all the while.",
        epilog=f"environment of serve:\n{describe()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="serve until SIGTERM (the default)")
    tiny = commands.add_parser("make-tiny-model", help="write a tiny model with random weights; its masks mean nothing")
    tiny.add_argument("folder", type=Path, help="folder to write it to")
    return parser


def _make_tiny_model(folder: Path) -> None:
    from sam3_server import tiny_model  # imports torch, which the server itself never does

    parameters = tiny_model.make(folder)
    print(f"{folder}: SAM3 with {parameters:,} random parameters. It runs like the real one; its masks mean nothing.")


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        _refuse(explain(error))


def _serve(settings: Settings) -> None:
    logs.configure("server", settings.log_level)
    sys.setswitchinterval(SWITCH_SECONDS)
    config = uvicorn.Config(
        build_app(settings, _control(settings)),
        host=settings.bind_address,
        port=settings.http_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_timeout,
    )
    uvicorn.Server(config).run()


def build_app(settings: Settings, control: Control) -> FastAPI:
    """Put the server together from its settings."""
    metrics = Metrics()
    limits = Limits(load=settings.load_timeout, request=settings.request_timeout, grace=settings.kill_grace)
    policy = Policy(
        need_mib=settings.gpu_memory_mib,
        standby=settings.standby,
        host=HostBudget.of(settings.model, settings.host_reserve_mib),
        max_in_flight=settings.max_in_flight,
        max_pixels=settings.max_image_pixels,
        held_wait=settings.held_wait if settings.while_held == "wait" else 0.0,
        hold_file=settings.hold_file,
        limits=limits,
    )
    template = Template(settings.log_level, settings.load_timeout) if settings.standby else None
    start = template.start_worker if template else start_afresh
    fallback = None
    if settings.while_held == "cpu":
        launch = _launcher(settings, start, memory_mib=0, dtype="float32")
        fallback = CpuFallback(launch, limits, settings.max_in_flight)
    launch = _launcher(settings, start, memory_mib=settings.gpu_memory_mib, dtype=settings.dtype)
    service = Service(policy, launch, gpu_memory.read, metrics, fallback)
    asked = RequestLimits(settings.max_image_mib, settings.max_prompts, settings.max_instances)
    return create_app(service, control, metrics, asked, template)


def _launcher(settings: Settings, start: Start, memory_mib: int, dtype: str) -> Launch:
    setup = Setup(
        model=settings.model,
        dtype=dtype,
        memory_mib=memory_mib,
        cached_images=settings.cached_images,
        log_level=settings.log_level,
    )
    return lambda on_exit: WorkerProcess.start(setup, start, on_exit)


def _control(settings: Settings) -> Control:
    if settings.control == "open":
        return OpenControl()
    if settings.control_token_file is not None:
        return TokenFile(settings.control_token_file)
    try:
        api = authentication_api()
    except kubernetes.config.ConfigException as error:
        _refuse([f"SAM3_CONTROL_SERVICE_ACCOUNTS needs a cluster to ask: run in a pod, or set KUBECONFIG ({error})"])
    return TokenReviews(api, settings.control_audience, settings.control_service_accounts)


def _refuse(sentences: list[str]) -> NoReturn:
    for sentence in sentences:
        print(f"sam3-server: {sentence}", file=sys.stderr)
    sys.exit(EXIT_CONFIG)


if __name__ == "__main__":
    main()
