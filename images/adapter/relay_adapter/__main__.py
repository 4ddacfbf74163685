"""The command `relay-adapter`."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from pydantic import ValidationError

import gpu_memory
from relay_adapter.app import served
from relay_adapter.profile import Profile, ProfileError, names, read_profile
from relay_adapter.server import adapter_of
from relay_adapter.settings import Settings
from residency import logs
from residency.api.auth import Control
from residency.api.server import NoClusterError, control_of, server_of
from residency.settings import describe, explain

EXIT_CONFIG = 2


def main() -> None:
    """Serve until SIGTERM."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again once it has shut down in order
    try:
        settings = Settings()
        profile = read_profile(settings.profile, settings.model)
        command = _command(profile, arguments.command)
        authority = control_of(settings)
    except ValidationError as error:
        _exit_with(explain(Settings, error))
    except (ProfileError, NoClusterError) as error:
        _exit_with([str(error)])
    logs.configure("adapter", settings.log_level)
    asyncio.run(serve(settings, profile, command, authority))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="relay-adapter",
        description="Stands before an inference engine, and unloads it from the GPU when asked.",
        epilog=f"profiles: {', '.join(names())}\n\nenvironment:\n{describe(Settings)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, help="the engine, for a profile with `process`: -- COMMAND"
    )
    return parser


def _command(profile: Profile, given: Sequence[str]) -> tuple[str, ...]:
    """Return the engine's command, empty for an engine that runs by itself; raises ProfileError."""
    own = tuple(given[1:] if given[:1] == ["--"] else given)
    if profile.process is None:
        if own:
            raise ProfileError(f"this profile works an engine that runs by itself; leave out {' '.join(own)}")
        return ()
    command = own or profile.process.command
    if not command:
        raise ProfileError("this profile needs the engine's command: relay-adapter -- COMMAND ARGUMENTS")
    return command


async def serve(settings: Settings, profile: Profile, command: Sequence[str], authority: Control) -> None:
    """Serve clients and the operator until SIGTERM."""
    async with (
        adapter_of(settings, profile, command, authority, gpu_memory.read) as adapter,
        served(adapter.proxy, settings),
    ):
        await server_of(adapter.app, settings).serve()


def _exit_with(sentences: Sequence[str]) -> NoReturn:
    for sentence in sentences:
        print(f"relay-adapter: {sentence}", file=sys.stderr)
    sys.exit(EXIT_CONFIG)


if __name__ == "__main__":
    main()
