"""The command line: `gpu-relay run` runs the operator, in a pod or outside it; `gpu-relay page` serves the page.

Each command imports only the modules that it needs.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from gpu_relay import __version__
from gpu_relay.observability import logs


def main() -> None:
    """Parse the command line and run the command; exit with 1 and a message if settings, cluster or leadership fail."""
    arguments = _parser().parse_args()
    command = {"run": _run, "page": _page}[arguments.command]
    try:
        command(arguments.verbose)
    except (ValidationError, ValueError) as error:
        sys.exit(f"gpu-relay: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _run(verbose: bool) -> None:
    from gpu_relay import process
    from gpu_relay.clients.kube import KubeError
    from gpu_relay.leaderelection.elector import LeadershipLostError
    from gpu_relay.settings import Settings

    settings = Settings()
    logs.to_stderr(settings.log_format, verbose=verbose)
    try:
        asyncio.run(process.run(settings))
    except (KubeError, LeadershipLostError) as error:
        sys.exit(f"gpu-relay: {error}")


def _page(verbose: bool) -> None:
    from relay_page import server
    from relay_page.settings import PageSettings

    settings = PageSettings()
    logs.to_stderr(settings.log_format, verbose=verbose)
    server.run(settings)


class _Parser(argparse.ArgumentParser):
    def format_help(self) -> str:
        """Return the help, with all settings."""
        from gpu_relay.settings import Settings
        from relay_page.settings import PageSettings

        self.epilog = (
            "The cluster is that of the pod, or of $KUBECONFIG. Settings are environment variables:\n\n"
            f"{_described(Settings)}\n\nSettings of the page:\n\n{_described(PageSettings)}"
        )
        return super().format_help()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="gpu-relay",
        description="Run YoloTrainingJobs on GPUs that inference pods own by default, and give the GPUs back.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = "run: run the operator; page: serve the page; both until SIGTERM or SIGINT"
    parser.add_argument("command", choices=["run", "page"], help=commands)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log every reconcile of every GPU")
    return parser


def _described(settings: type[BaseSettings]) -> str:
    prefix = settings.model_config["env_prefix"]
    return "\n".join(
        f"  {prefix}{name.upper()} (default {_default(field.default)!r})\n      {field.description}"
        for name, field in settings.model_fields.items()
    )


def _default(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


if __name__ == "__main__":
    main()
