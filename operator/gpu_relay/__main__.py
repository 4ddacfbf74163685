"""The command line: `run` runs the operator, `page` serves the page, `conformance` tests a resident.

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

_VERBOSE = "log every reconcile of every GPU"


def main() -> None:
    """Parse the command line and run the command; exit with 1 and a message if settings, cluster or leadership fail."""
    arguments = _parser().parse_args()
    command = {"run": _run, "page": _page, "conformance": _conformance}[arguments.command]
    try:
        command(arguments)
    except (ValidationError, ValueError) as error:
        sys.exit(f"gpu-relay: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _run(arguments: argparse.Namespace) -> None:
    from gpu_relay import process
    from gpu_relay.clients.kube import KubeError
    from gpu_relay.leaderelection.elector import LeadershipLostError
    from gpu_relay.settings import Settings

    settings = Settings()
    logs.to_stderr(settings.log_format, verbose=arguments.verbose)
    try:
        asyncio.run(process.run(settings))
    except (KubeError, LeadershipLostError) as error:
        sys.exit(f"gpu-relay: {error}")


def _page(arguments: argparse.Namespace) -> None:
    from relay_page import server
    from relay_page.settings import PageSettings

    settings = PageSettings()
    logs.to_stderr(settings.log_format, verbose=arguments.verbose)
    server.run(settings)


def _conformance(arguments: argparse.Namespace) -> None:
    from gpu_relay.conformance import runner
    from gpu_relay.conformance.subject import ViolationError

    token = arguments.token_file.read_text().strip() if arguments.token_file else ""
    try:
        results = asyncio.run(runner.run(arguments.url, token, load_timeout=arguments.load_timeout))
    except ViolationError as error:
        sys.exit(f"gpu-relay: {error}")
    failed = sum(bool(each.violation) for each in results)
    print(f"{len(results) - failed} of {len(results)} promises are kept")
    sys.exit(1 if failed else 0)


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
    parser.add_argument("-v", "--verbose", action="store_true", help=_VERBOSE)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=argparse.ArgumentParser
    )
    for name, text in (("run", "run the operator"), ("page", "serve the page")):
        until = commands.add_parser(name, help=f"{text}, until SIGTERM or SIGINT")
        until.add_argument("-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help=_VERBOSE)
    text = "test a resident against its contract (docs/resident-contract.md); it unloads and loads repeatedly"
    conformance = commands.add_parser("conformance", help=text, description=text)
    conformance.add_argument("url", metavar="URL", help="for example http://127.0.0.1:8000")
    conformance.add_argument("--token-file", type=Path, help="file with the token for unload and load")
    conformance.add_argument(
        "--load-timeout", type=float, default=300, help="longest time for an answer, in seconds (default: %(default)s)"
    )
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
