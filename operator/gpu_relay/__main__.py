"""The command line: `gpu-relay run` works in a pod and from a laptop."""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from datetime import UTC, datetime

import aiohttp
import kopf
from pydantic import ValidationError

from gpu_relay import probes
from gpu_relay.api import words
from gpu_relay.effects.events import EventRecorder
from gpu_relay.effects.http import open_session
from gpu_relay.effects.jobs import JobStore
from gpu_relay.effects.kube import Kube, KubeError
from gpu_relay.effects.leases import LeaseStore
from gpu_relay.effects.nodes import NodeStore
from gpu_relay.effects.pods import PodStore
from gpu_relay.effects.residents import ResidentClient
from gpu_relay.engine.actions import Effects
from gpu_relay.engine.cache import Cache
from gpu_relay.engine.engine import Engine
from gpu_relay.engine.residents import ResidentDirectory, external_resident
from gpu_relay.handlers import registry_for
from gpu_relay.settings import Settings

logger = logging.getLogger("gpu_relay")


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def main() -> None:
    """Parse the command line and run; exits with 2 when settings or cluster need a change first."""
    arguments = _parser().parse_args()
    try:
        settings = Settings()
        _log_to_stderr(settings.log_format, verbose=arguments.verbose)
        asyncio.run(_run(settings))
    except (ValidationError, ValueError, KubeError) as error:
        sys.exit(f"gpu-relay: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    fields = Settings.model_fields.items()
    settings = "\n".join(
        f"  GPU_RELAY_{name.upper()} (default {field.default!r})\n      {field.description}" for name, field in fields
    )
    parser = argparse.ArgumentParser(
        prog="gpu-relay",
        description="Runs YoloTrainingJobs on GPUs that inference pods own by default, and gives the GPUs back.",
        epilog="The cluster is the pod's own, or that of $KUBECONFIG. Settings are environment variables:\n\n"
        + settings,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=["run"], help="run the operator until it is told to stop")
    parser.add_argument("-v", "--verbose", action="store_true", help="log every look at every GPU")
    return parser


def _log_to_stderr(log_format: str, *, verbose: bool) -> None:
    handler = logging.StreamHandler()
    plain = logging.Formatter("%(asctime)s %(levelname).1s %(message)s", datefmt="%H:%M:%S")
    handler.setFormatter(_JsonLines() if log_format == "json" else plain)
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    for noisy in ("kopf", "asyncio", "aiohttp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


async def _run(settings: Settings) -> None:
    async with (
        Kube.connect(field_manager="gpu-relay", timeout=settings.request_timeout) as kube,
        open_session() as http,
    ):
        await _expect_crd(kube)
        engine = _engine(kube, http, settings)
        host = os.environ.get("BIND_ADDRESS", "0.0.0.0")
        async with probes.serve(engine, host, settings.http_port) as port:
            logger.info("gpu-relay runs; namespace %s, probes on port %d", settings.namespace, port)
            await _until_either_ends(engine, settings)


def _engine(kube: Kube, http: aiohttp.ClientSession, settings: Settings) -> Engine:
    cache = Cache(settings.trusts_residents_of)
    namespace = settings.watch_namespace or None
    residents = ResidentClient(http, settings.resident_token_file, settings.limits())
    effects = Effects(
        jobs=JobStore(kube, namespace),
        pods=PodStore(kube, namespace),
        leases=LeaseStore(kube, settings.namespace),
        events=EventRecorder(kube),
        residents=residents,
        directory=ResidentDirectory(
            cache,
            residents,
            settings.resident_port,
            [external_resident(**each.model_dump()) for each in settings.external_residents],
        ),
        nodes=NodeStore(kube),
        http=http,
    )
    return Engine(kube, cache, effects, settings)


async def _until_either_ends(engine: Engine, settings: Settings) -> None:
    """Run watches and engine side by side; when one ends, by signal or by error, the process ends."""
    where = {"namespaces": [settings.watch_namespace]} if settings.watch_namespace else {"clusterwide": True}
    up, stop = asyncio.Event(), asyncio.Event()
    registry = registry_for(engine)
    watches = asyncio.create_task(
        kopf.operator(registry=registry, standalone=True, ready_flag=up, stop_flag=stop, **where)
    )
    work = asyncio.create_task(engine.run())
    signals = asyncio.create_task(_stop_work_first(up, work))
    await asyncio.wait({watches, work}, return_when=asyncio.FIRST_COMPLETED)
    signals.cancel()
    work.cancel()
    stop.set()
    ends = await asyncio.gather(work, watches, signals, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end


async def _stop_work_first(up: asyncio.Event, work: "asyncio.Task[None]") -> None:
    """Take the signals over from Kopf, which would wait in vain for our tasks to end by themselves."""
    await up.wait()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)


async def _expect_crd(kube: Kube) -> None:
    try:
        await kube.get(f"/apis/{words.API_VERSION}")
    except KubeError as error:
        if error.not_found:
            message = f"the cluster does not know {words.KIND}: apply the files of crds/ first"
            raise KubeError(0, "NoCRD", message) from error
        raise


if __name__ == "__main__":
    main()
